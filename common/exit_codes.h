#pragma once

namespace longrope {

// Exit codes of every command (README, "Exit codes").
inline constexpr int kExitSuccess = 0;
inline constexpr int kExitFailure = 1;   // the work could not be done: database, network, device
inline constexpr int kExitBadInput = 2;  // command line, configuration or a file broke a rule; nothing was changed
inline constexpr int kExitWaiting = 3;   // a pipeline waits for the user

}  // namespace longrope
