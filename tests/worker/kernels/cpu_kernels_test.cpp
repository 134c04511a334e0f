#include "worker/kernels/cpu_kernels.h"

#include "tests/worker/kernels/kernel_inputs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace longrope {

#ifdef LONGROPE_X86_KERNELS
// twelve_row_kernels.cpp
void exponentials(const float* in, std::int64_t panels, float* out);
#endif

namespace {

/// Numbers that the kernels multiply as they are: rounded to bfloat16 for pairs of it.
std::vector<float> operand_values(const CpuKernels& kernels, std::int64_t count, std::uint32_t seed) {
  std::vector<float> values = random_values(count, seed);
  if (kernels.operands == OperandType::kFloat32) return values;
  for (float& value : values) value = std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) & 0xFFFF0000U);
  return values;
}

Operands packed(const CpuKernels& kernels, const std::vector<float>& weight, std::int64_t columns, std::int64_t depth) {
  Operands result(static_cast<std::size_t>(panels(columns) * kPanelColumns * operand_count(kernels.operands, depth)));
  pack_panels(weight.data(), columns, depth, 0, panels(columns), kernels.operands, result.data());
  return result;
}

float& at(std::vector<float>& values, std::int64_t index) { return values[static_cast<std::size_t>(index)]; }
float at(const std::vector<float>& values, std::int64_t index) { return values[static_cast<std::size_t>(index)]; }

class CpuKernelsTest : public ::testing::TestWithParam<const CpuKernels*> {
 protected:
  const CpuKernels* kernels_ = GetParam();
};
std::string name_of(const ::testing::TestParamInfo<const CpuKernels*>& test) {
  std::string name = test.param->instruction_set;
  std::erase_if(name, [](unsigned char letter) { return std::isalnum(letter) == 0; });
  return name;
}
INSTANTIATE_TEST_SUITE_P(InstructionSets, CpuKernelsTest, ::testing::ValuesIn(available_kernels()), name_of);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CpuKernelsTest);

struct ProductCase {
  std::int64_t rows;
  std::int64_t depth;
  std::int64_t columns;
  bool accumulate;

  [[nodiscard]] std::vector<float> in(const CpuKernels& kernels) const {
    return operand_values(kernels, rows * depth, 1);
  }
  [[nodiscard]] std::vector<float> weight(const CpuKernels& kernels) const {
    return operand_values(kernels, columns * depth, 2);
  }
  [[nodiscard]] std::vector<float> start() const { return random_values(rows * columns, 3); }

  [[nodiscard]] std::vector<float> product(const CpuKernels& kernels, std::int64_t rows_at_once,
                                           std::int64_t panels_at_once) const {
    const std::vector<float> left = in(kernels);
    const Operands matrix = packed(kernels, weight(kernels), columns, depth);
    std::vector<float> out = start();
    for (std::int64_t row = 0; row < rows; row += rows_at_once) {
      for (std::int64_t panel = 0; panel < panels(columns); panel += panels_at_once) {
        kernels.multiply({.in = {left.data() + row * depth, depth, std::min(rows_at_once, rows - row)},
                          .matrix = matrix.data(),
                          .depth = depth,
                          .columns = columns,
                          .first_panel = panel,
                          .last_panel = std::min(panel + panels_at_once, panels(columns)),
                          .accumulate = accumulate,
                          .out = {out.data() + row * columns, columns}});
      }
    }
    return out;
  }
  [[nodiscard]] std::vector<float> whole(const CpuKernels& kernels) const {
    return product(kernels, rows, panels(columns));
  }
};

// Around every boundary: blocks of 6 and 12 rows, groups of 96 rows, one panel of 16 columns and two, sums of 320
// operands.
const std::vector<ProductCase> kProducts = {
    {1, 1, 1, false},     {5, 7, 16, true},    {6, 319, 17, false}, {7, 320, 31, true},   {12, 321, 48, true},
    {13, 300, 15, false}, {96, 16, 33, false}, {97, 641, 16, true}, {200, 64, 100, true}, {13, 1281, 33, true}};

TEST_P(CpuKernelsTest, ProductsAgreeWithDoublePrecision) {
  for (const ProductCase& shape : kProducts) {
    const std::vector<float> in = shape.in(*kernels_);
    const std::vector<float> weight = shape.weight(*kernels_);
    const std::vector<float> out = shape.whole(*kernels_);
    const std::vector<float> start = shape.start();
    for (std::int64_t row = 0; row < shape.rows; ++row) {
      for (std::int64_t column = 0; column < shape.columns; ++column) {
        const std::int64_t cell = row * shape.columns + column;
        double expected = shape.accumulate ? static_cast<double>(at(start, cell)) : 0.0;
        double magnitude = std::abs(expected);
        for (std::int64_t k = 0; k < shape.depth; ++k) {
          const double term = static_cast<double>(at(in, row * shape.depth + k)) *
                              static_cast<double>(at(weight, column * shape.depth + k));
          expected += term;
          magnitude += std::abs(term);
        }
        // Half a unit in the last place (6e-8) of the running sum for each of up to 640 additions, at worst.
        ASSERT_NEAR(static_cast<double>(at(out, cell)), expected, 1e-6 * magnitude) << shape.rows << "×" << shape.depth;
      }
    }
  }
}

TEST_P(CpuKernelsTest, ProductsAreBitEqualInAnyDivision) {
  for (const ProductCase& shape : kProducts) {
    const std::vector<float> whole = shape.whole(*kernels_);
    EXPECT_EQ(shape.product(*kernels_, 1, 1), whole);
    EXPECT_EQ(shape.product(*kernels_, 5, 2), whole);
    EXPECT_EQ(shape.product(*kernels_, 64, 3), whole);
  }
}

TEST(PackPanelsTest, Bfloat16BecomesFloat32Exactly) {
  const std::vector<std::uint16_t> weight = {0x3F80, 0xC000, 0x3E80, 0x0001};  // 1, −2, 0.25, 2^-133 · 2^-0
  std::vector<float> matrix(2 * kPanelColumns, -1.0F);
  pack_panels(weight.data(), /*columns=*/2, /*depth=*/2, 0, 1, OperandType::kFloat32, matrix.data());
  EXPECT_EQ(at(matrix, 0), 1.0F);
  EXPECT_EQ(at(matrix, kPanelColumns), -2.0F);
  EXPECT_EQ(at(matrix, 1), 0.25F);
  EXPECT_EQ(at(matrix, kPanelColumns + 1), std::ldexp(1.0F, -133));
  EXPECT_EQ(at(matrix, 2), 0.0F);
}

TEST(PackPanelsTest, PairsFollowTheDepthAndAnOddOneEndsWithZero) {
  const std::vector<std::uint16_t> weight = {0x3F80, 0xC000, 0x3E80};
  Operands matrix(2 * kPanelColumns, 1U);
  pack_panels(weight.data(), /*columns=*/1, /*depth=*/3, 0, 1, OperandType::kBfloat16Pair, matrix.data());
  EXPECT_EQ(matrix[0], 0xC0003F80U);
  EXPECT_EQ(matrix[kPanelColumns], 0x3E80U);
  EXPECT_EQ(matrix[1], 0U);
}

TEST(PackPanelsTest, FloatsOfPairsAreRoundedToNearestEven) {
  const auto bits = [](float value) {
    Operands matrix(kPanelColumns);
    pack_panels(&value, /*columns=*/1, /*depth=*/1, 0, 1, OperandType::kBfloat16Pair, matrix.data());
    return matrix[0];
  };
  EXPECT_EQ(bits(std::bit_cast<float>(0x3F808000U)), 0x3F80U);  // half way: to even
  EXPECT_EQ(bits(std::bit_cast<float>(0x3F818000U)), 0x3F82U);
  EXPECT_EQ(bits(std::bit_cast<float>(0x3F808001U)), 0x3F81U);
  EXPECT_EQ(bits(std::numeric_limits<float>::infinity()), 0x7F80U);
  EXPECT_EQ(bits(-std::numeric_limits<float>::max()), 0xFF80U);
  EXPECT_TRUE(std::isnan(std::bit_cast<float>(bits(std::nanf("")) << 16U)));
}

struct AttentionCase {
  std::int64_t tokens;
  std::int64_t heads;
  std::int64_t head_dim;
  std::int64_t window;
  float query_scale = 1.0F;

  [[nodiscard]] std::int64_t width() const { return heads * head_dim; }
  [[nodiscard]] std::vector<float> query(const CpuKernels& kernels) const {
    std::vector<float> values = operand_values(kernels, tokens * width(), 4);
    for (float& value : values) value *= query_scale;
    return values;
  }
  [[nodiscard]] std::vector<float> key(const CpuKernels& kernels) const {
    return operand_values(kernels, tokens * head_dim, 5);
  }
  [[nodiscard]] std::vector<float> value(const CpuKernels& kernels) const {
    return operand_values(kernels, tokens * head_dim, 6);
  }
};
std::ostream& operator<<(std::ostream& out, const AttentionCase& shape) {
  return out << shape.tokens << " tokens, " << shape.heads << " heads of " << shape.head_dim << ", window "
             << shape.window;
}

// Around blocks of 256 keys, groups of 6 or 12 tokens, 96 query rows at once; every head_dim of the known families.
const std::vector<AttentionCase> kAttentions = {
    {1, 1, 64, 0},  {7, 3, 6, 0},   {255, 1, 80, 0}, {257, 4, 96, 0},   {300, 3, 128, 0},  {513, 2, 256, 0},
    {40, 20, 8, 0}, {97, 1, 64, 1}, {200, 3, 64, 5}, {600, 2, 64, 256}, {530, 1, 16, 257}, {700, 3, 80, 1000},
};

class AttentionInput {
 public:
  AttentionInput(const CpuKernels& kernels, const AttentionCase& shape, std::int64_t rows_at_once = 1000)
      : kernels_(kernels),
        shape_(shape),
        query_(shape.query(kernels)),
        cache_(kernels, shape.key(kernels), shape.value(kernels), shape.head_dim, rows_at_once) {}

  [[nodiscard]] std::vector<float> attend(std::int64_t tokens_at_once) const {
    std::vector<float> out(query_.size(), std::nanf(""));
    for (std::int64_t token = 0; token < shape_.tokens; token += tokens_at_once) {
      kernels_.attend({.query = {query_.data() + token * shape_.width(), shape_.width(),
                                 std::min(tokens_at_once, shape_.tokens - token)},
                       .first_position = token,
                       .heads = shape_.heads,
                       .head_dim = shape_.head_dim,
                       .keys = cache_.keys().data(),
                       .values = cache_.values().data(),
                       .window = shape_.window,
                       .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape_.head_dim))),
                       .out = {out.data() + token * shape_.width(), shape_.width()}});
    }
    return out;
  }

 private:
  const CpuKernels& kernels_;
  AttentionCase shape_;
  std::vector<float> query_;
  HeadCache cache_;
};

struct ExpectedAttention {
  std::vector<double> result;     // [head_dim]
  std::vector<double> magnitude;  // Σ weight·|value|
};

struct AttentionNumbers {
  std::vector<float> query;
  std::vector<float> key;
  std::vector<float> value;
};

/// One query of one head over all the keys it sees.
ExpectedAttention expected_attention(const AttentionCase& shape, const AttentionNumbers& numbers, std::int64_t token,
                                     std::int64_t head) {
  const auto& [query, key, value] = numbers;
  const std::int64_t first = shape.window > 0 ? std::max<std::int64_t>(0, token + 1 - shape.window) : 0;
  std::vector<double> weights;
  for (std::int64_t position = first; position <= token; ++position) {
    double score = 0.0;
    for (std::int64_t channel = 0; channel < shape.head_dim; ++channel) {
      score += static_cast<double>(at(query, token * shape.width() + head * shape.head_dim + channel)) *
               static_cast<double>(at(key, position * shape.head_dim + channel));
    }
    weights.push_back(std::exp(score / std::sqrt(static_cast<double>(shape.head_dim))));
  }
  double total = 0.0;
  for (const double weight : weights) total += weight;
  const auto width = static_cast<std::size_t>(shape.head_dim);
  ExpectedAttention expected{std::vector<double>(width), std::vector<double>(width)};
  for (std::size_t channel = 0; channel < width; ++channel) {
    for (std::size_t index = 0; index < weights.size(); ++index) {
      const std::int64_t position = first + static_cast<std::int64_t>(index);
      const double term =
          weights[index] / total *
          static_cast<double>(at(value, position * shape.head_dim + static_cast<std::int64_t>(channel)));
      expected.result[channel] += term;
      expected.magnitude[channel] += std::abs(term);
    }
  }
  return expected;
}

TEST_P(CpuKernelsTest, AttentionAgreesWithFullSoftmaxInDoublePrecision) {
  // A weight that is rounded to bfloat16 is off by up to 2^-8.
  const double relative = kernels_->operands == OperandType::kFloat32 ? 0.0 : 4e-3;
  for (const AttentionCase& shape : kAttentions) {
    const std::vector<float> out = AttentionInput(*kernels_, shape).attend(shape.tokens);
    const AttentionNumbers numbers{shape.query(*kernels_), shape.key(*kernels_), shape.value(*kernels_)};
    // The first and last tokens, and those around blocks of keys; all heads.
    for (const std::int64_t token : {std::int64_t{0}, std::int64_t{5}, std::int64_t{255}, std::int64_t{256},
                                     std::int64_t{511}, std::int64_t{512}, shape.tokens - 2, shape.tokens - 1}) {
      if (token < 0 || token >= shape.tokens) continue;
      for (std::int64_t head = 0; head < shape.heads; ++head) {
        const ExpectedAttention expected = expected_attention(shape, numbers, token, head);
        for (std::size_t channel = 0; channel < expected.result.size(); ++channel) {
          const std::int64_t cell = token * shape.width() + head * shape.head_dim + static_cast<std::int64_t>(channel);
          ASSERT_NEAR(static_cast<double>(at(out, cell)), expected.result[channel],
                      3e-6 + relative * expected.magnitude[channel])
              << shape << ", token " << token << ", head " << head;
        }
      }
    }
  }
}

TEST_P(CpuKernelsTest, AttentionIsBitEqualInAnyDivision) {
  for (const AttentionCase& shape : kAttentions) {
    const AttentionInput input(*kernels_, shape);
    const std::vector<float> whole = input.attend(shape.tokens);
    for (const std::int64_t tokens_at_once : {1, 5, 64, 250}) {
      EXPECT_EQ(input.attend(tokens_at_once), whole) << shape << ", " << tokens_at_once << " at once";
    }
    for (const std::int64_t rows_at_once : {1, 5, 48}) {
      EXPECT_EQ(AttentionInput(*kernels_, shape, rows_at_once).attend(shape.tokens), whole) << shape;
    }
  }
}

TEST_P(CpuKernelsTest, AttentionWithLargeScoresIsBitEqualInAnyDivision) {
  // Rounded products of largest score and scale are then no longer exact.
  for (AttentionCase shape : kAttentions) {
    shape.query_scale = 37.0F;
    const AttentionInput input(*kernels_, shape);
    EXPECT_EQ(input.attend(5), input.attend(shape.tokens)) << shape;
  }
}

TEST_P(CpuKernelsTest, LargeScoresDoNotOverflowTheSoftmax) {
  // Scores up to ±1e4: without the running maximum exp() is infinite.
  const std::vector<float> query = {1e4F, 1e4F, -1e4F};
  const HeadCache cache(*kernels_, {1.0F, 0.5F, -1.0F}, {0.0F, 1.0F, 2.0F}, /*head_dim=*/1, 3);
  std::vector<float> out(3);
  kernels_->attend({.query = {query.data(), 1, 3},
                    .head_dim = 1,
                    .keys = cache.keys().data(),
                    .values = cache.values().data(),
                    .out = {out.data(), 1}});
  EXPECT_EQ(out[0], 0.0F);
  EXPECT_EQ(out[1], 0.0F);
  EXPECT_NEAR(out[2], 2.0F, 2e-3F);  // half a unit in the last place of 1e4 in the exponent, times the value
}

TEST_P(CpuKernelsTest, RmsNormAgreesWithDoublePrecision) {
  for (const std::int64_t width : {1, 15, 16, 17, 576}) {
    const std::vector<float> in = random_values(2 * width, 7);
    const std::vector<float> weight = random_values(width, 8);
    std::vector<float> out(in.size());
    kernels_->rms_norm({in.data(), width, 2}, width, weight.data(), 1e-5F, {out.data(), width});
    for (std::int64_t row = 0; row < 2; ++row) {
      double squares = 0.0;
      for (std::int64_t column = 0; column < width; ++column) {
        squares += std::pow(static_cast<double>(at(in, row * width + column)), 2);
      }
      const double scale = 1.0 / std::sqrt(squares / static_cast<double>(width) + 1e-5);
      for (std::int64_t column = 0; column < width; ++column) {
        const double expected =
            static_cast<double>(at(in, row * width + column)) * scale * static_cast<double>(at(weight, column));
        EXPECT_NEAR(static_cast<double>(at(out, row * width + column)), expected, 1e-6 * std::abs(expected) + 1e-30);
      }
    }
  }
}

TEST_P(CpuKernelsTest, RotationTurnsPairsAndPassesOtherChannels) {
  constexpr std::int64_t kHeads = 2;
  constexpr std::int64_t kHeadDim = 44;
  for (const std::int64_t pairs : {1, 15, 16, 20, 22}) {
    std::vector<float> rows = random_values(2 * kHeads * kHeadDim, 9);
    const std::vector<float> before = rows;
    const std::vector<float> cos = random_values(2 * pairs, 10);
    const std::vector<float> sin = random_values(2 * pairs, 11);
    kernels_->rotate({rows.data(), kHeads * kHeadDim}, 2, kHeads, kHeadDim, cos.data(), sin.data(), pairs);
    for (std::int64_t head = 0; head < 2 * kHeads; ++head) {
      const std::int64_t row = head / kHeads;
      for (std::int64_t channel = 0; channel < kHeadDim; ++channel) {
        const std::int64_t cell = head * kHeadDim + channel;
        double expected = static_cast<double>(at(before, cell));
        if (channel < 2 * pairs) {
          const std::int64_t pair = channel % pairs;
          const bool first = channel < pairs;
          const double other = static_cast<double>(at(before, first ? cell + pairs : cell - pairs));
          expected = expected * static_cast<double>(at(cos, row * pairs + pair)) +
                     (first ? -other : other) * static_cast<double>(at(sin, row * pairs + pair));
        }
        EXPECT_NEAR(static_cast<double>(at(rows, cell)), expected, 1e-6) << pairs << " pairs, channel " << channel;
      }
    }
  }
}

TEST_P(CpuKernelsTest, GateIsSiluTimesUp) {
  // From underflow to overflow of exp(−gate), both signs; the last columns do not fill a panel.
  const std::vector<float> gates = {-1e30F, -1000.0F, -88.5F, -87.0F, -20.0F, -1.0F,   -1e-3F, 0.0F,  1e-3F, 0.5F,
                                    1.0F,   3.0F,     20.0F,  87.0F,  88.5F,  1000.0F, 1e30F,  -0.7F, 0.7F};
  const auto width = static_cast<std::int64_t>(gates.size());
  std::vector<float> gate_up = gates;
  gate_up.resize(2 * gates.size(), 3.0F);
  std::vector<float> out(gates.size());
  kernels_->gate({gate_up.data(), 2 * width, 1}, width, {out.data(), width});
  for (std::size_t index = 0; index < gates.size(); ++index) {
    const double gate = static_cast<double>(gates[index]);
    const double expected = 3.0 * gate / (1.0 + std::exp(-gate));
    // exp(−gate) counts as at most e^88 = 1.7e38.
    const double tolerance = 1e-6 * std::abs(expected) + 3.0 * std::abs(gate) / 1.6e38;
    EXPECT_NEAR(static_cast<double>(out[index]), expected, tolerance) << gate;
  }
}

TEST_P(CpuKernelsTest, LogitsGiveLogSumExpTargetAndArgmaxInOnePass) {
  constexpr std::int64_t kColumns = 100;
  std::vector<float> logits = random_values(2 * kColumns, 12);
  for (float& logit : logits) logit *= 30.0F;
  at(logits, 20) = at(logits, 77) = 200.0F;  // two largest: the lower column counts
  const std::vector<std::int64_t> targets = {77, 3};
  for (const std::int64_t columns_at_once : {100, 64, 7}) {
    std::vector<LogitState> states(2, no_logits());
    for (std::int64_t first = 0; first < kColumns; first += columns_at_once) {
      kernels_->add_logits({logits.data() + first, kColumns, 2}, first, std::min(columns_at_once, kColumns - first),
                           targets.data(), states.data());
    }
    for (std::int64_t row = 0; row < 2; ++row) {
      const LogitState& state = states[static_cast<std::size_t>(row)];
      const auto begin = logits.begin() + row * kColumns;
      EXPECT_EQ(state.argmax, std::max_element(begin, begin + kColumns) - begin);
      EXPECT_EQ(state.target_logit, *(begin + targets[static_cast<std::size_t>(row)]));
      double sum = 0.0;
      for (std::int64_t column = 0; column < kColumns; ++column) {
        sum += std::exp(static_cast<double>(*(begin + column)) - 200.0);
      }
      EXPECT_NEAR(static_cast<double>(state.largest) + std::log(static_cast<double>(state.exponentials)),
                  200.0 + std::log(sum), 1e-4);
    }
  }
}

TEST_P(CpuKernelsTest, ValuesThatAreNotNumbersAreNeverLost) {
  const float nan = std::nanf("");
  const std::vector<float> query = {1.0F};
  std::vector<float> out(1);
  const HeadCache cache(*kernels_, {nan}, {1.0F}, /*head_dim=*/1, 1);
  kernels_->attend({.query = {query.data(), 1, 1},
                    .head_dim = 1,
                    .keys = cache.keys().data(),
                    .values = cache.values().data(),
                    .out = {out.data(), 1}});
  EXPECT_TRUE(std::isnan(out[0]));

  const std::vector<float> gate_up = {nan, 1.0F};
  kernels_->gate({gate_up.data(), 2, 1}, 1, {out.data(), 1});
  EXPECT_TRUE(std::isnan(out[0]));

  for (const float bad : {nan, std::numeric_limits<float>::infinity()}) {
    const std::vector<float> logits = {0.0F, bad, 1.0F};
    const std::int64_t target = 0;
    LogitState state = no_logits();
    kernels_->add_logits({logits.data(), 3, 1}, 0, 3, &target, &state);
    EXPECT_FALSE(std::isfinite(state.largest + std::log(state.exponentials) - state.target_logit));
  }
}

TEST_P(CpuKernelsTest, EveryInstructionSetGivesTheSameBitsOfFloat32Operands) {
  if (kernels_->operands != OperandType::kFloat32) return;  // there is one with pairs
  for (const AttentionCase& shape : kAttentions) {
    EXPECT_EQ(AttentionInput(*kernels_, shape).attend(64), AttentionInput(*avx2_kernels(), shape).attend(64)) << shape;
  }
  for (const ProductCase& shape : kProducts) {
    EXPECT_EQ(shape.whole(*kernels_), shape.whole(*avx2_kernels())) << shape.rows << "×" << shape.depth;
  }
}

#ifdef LONGROPE_X86_KERNELS
TEST(ExponentialTest, ItIsRightToTwoUnitsInTheLastPlace) {
  if (avx2_kernels() == nullptr) GTEST_SKIP() << "NOT RUN: this processor has no AVX2";
  std::vector<float> in(std::size_t{1} << 20);
  for (std::size_t index = 0; index < in.size(); ++index) {
    in[index] = -87.33F + 175.33F * static_cast<float>(index) / static_cast<float>(in.size());
  }
  std::vector<float> out(in.size());
  exponentials(in.data(), static_cast<std::int64_t>(in.size()) / kPanelColumns, out.data());
  double largest_error = 0.0;  // in units in the last place of the exact value
  for (std::size_t index = 0; index < in.size(); ++index) {
    const double exact = std::exp(static_cast<double>(in[index]));
    const double unit = std::ldexp(1.0, std::ilogb(exact) - 23);
    largest_error = std::max(largest_error, std::abs(static_cast<double>(out[index]) - exact) / unit);
  }
  EXPECT_LE(largest_error, 2.0);
}

TEST(ExponentialTest, BeyondItsRangeItIsZeroOrBoundedAndNotANumberStaysSo) {
  if (avx2_kernels() == nullptr) GTEST_SKIP() << "NOT RUN: this processor has no AVX2";
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> in(kPanelColumns, 0.0F);
  in[0] = -infinity;
  in[1] = -87.4F;
  in[2] = infinity;
  in[3] = std::nanf("");
  std::vector<float> out(in.size());
  exponentials(in.data(), 1, out.data());
  EXPECT_EQ(out[0], 0.0F);
  EXPECT_EQ(out[1], 0.0F);
  EXPECT_NEAR(static_cast<double>(out[2]), std::exp(88.0), 1e-6 * std::exp(88.0));
  EXPECT_TRUE(std::isnan(out[3]));
  EXPECT_EQ(out[4], 1.0F);
}
#endif

TEST(CpuKernelsDispatchTest, Avx512IsTestedToo) {
  if (avx512_kernels() == nullptr) {
    GTEST_SKIP()
        << "NOT RUN: this processor has no AVX-512; its blocks were tested with AVX2, its instructions were not";
  }
}

TEST(CpuKernelsDispatchTest, Bfloat16IsTestedToo) {
  if (avx512_bfloat16_kernels() == nullptr) {
    GTEST_SKIP() << "NOT RUN: this processor has no AVX512-BF16; its kernels were not tested";
  }
}

TEST(CpuKernelsDispatchTest, TheWidestInstructionSetIsTaken) {
  const CpuKernels* const widest = avx512_kernels() != nullptr ? avx512_kernels() : avx2_kernels();
  EXPECT_EQ(cpu_kernels(OperandType::kFloat32), widest);
  EXPECT_EQ(cpu_kernels(OperandType::kBfloat16Pair), avx512_bfloat16_kernels());
}

}  // namespace
}  // namespace longrope
