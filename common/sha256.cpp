#include "common/sha256.h"

#include "common/error.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <bit>
#include <fstream>
#include <vector>

namespace longrope {
namespace {

constexpr std::size_t kDigestBytes = 32;

std::array<std::byte, 8> little_endian(std::uint64_t number) {
  std::array<std::byte, 8> bytes{};
  for (std::byte& byte : bytes) {
    byte = static_cast<std::byte>(number & 0xFFU);
    number >>= 8U;
  }
  return bytes;
}

void require(int openssl_result) {
  if (openssl_result != 1) throw Error("cannot compute SHA-256: a call to OpenSSL failed");
}

}  // namespace

struct Sha256::State {
  State() : context(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    if (!context) throw Error("cannot compute SHA-256: OpenSSL is out of memory");
    require(EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr));
  }
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context;
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;

Sha256& Sha256::update(std::span<const std::byte> bytes) {
  require(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()));
  return *this;
}

Sha256& Sha256::field(std::string_view text) {
  update(little_endian(text.size()));
  return update(std::as_bytes(std::span(text)));
}

Sha256& Sha256::field(std::int64_t number) {
  const auto bytes = little_endian(static_cast<std::uint64_t>(number));
  update(little_endian(bytes.size()));
  return update(bytes);
}

Sha256& Sha256::field(double number) { return field(std::bit_cast<std::int64_t>(number)); }

std::string Sha256::hex() {
  std::array<unsigned char, kDigestBytes> digest{};
  unsigned int length = 0;
  require(EVP_DigestFinal_ex(state_->context.get(), digest.data(), &length));
  std::string text;
  for (const unsigned char byte : digest) text += fmt::format("{:02x}", byte);
  return text;
}

std::string sha256_of_file(const std::filesystem::path& path) {
  constexpr std::size_t kChunkBytes = 1 << 20;
  std::error_code status_error;
  if (!std::filesystem::is_regular_file(path, status_error)) {
    throw InputError(fmt::format("input must be an existing regular file: {}", path.string()));
  }
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw InputError(fmt::format("file must be readable: {}", path.string()));
  Sha256 sha256;
  std::vector<char> chunk(kChunkBytes);
  while (stream.read(chunk.data(), static_cast<std::streamsize>(chunk.size())), stream.gcount() > 0) {
    sha256.update(std::as_bytes(std::span(chunk).first(static_cast<std::size_t>(stream.gcount()))));
  }
  if (stream.bad()) throw InputError(fmt::format("file must be readable to its end: {}", path.string()));
  return sha256.hex();
}

}  // namespace longrope
