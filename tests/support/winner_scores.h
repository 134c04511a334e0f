#pragma once

#include "evaluation/verdict.h"

namespace longrope {

/// A search that lost to the untouched model on documents of unequal lengths, won over YaRN, and is near PI.
inline WinnerScores unequal_documents() {
  WinnerScores scores;
  scores.stage = "1k";
  scores.target_length = 32768;
  scores.attention_factor = 1.1902380714238083;
  scores.finalists = 8;
  scores.scores = {{"winner", {{1600.0, 511}, {1703.0, 511}, {989.0, 300}, {1650.0, 511}}},
                   {"none", {{1580.0, 511}, {1670.0, 511}, {975.0, 300}, {1622.0, 511}}},
                   {"yarn", {{1640.0, 511}, {1757.0, 511}, {1013.0, 300}, {1701.0, 511}}},
                   {"pi", {{1602.0, 511}, {1699.0, 511}, {990.0, 300}, {1649.0, 511}}}};
  return scores;
}

}  // namespace longrope
