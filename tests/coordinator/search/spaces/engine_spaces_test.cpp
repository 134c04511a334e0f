#include "coordinator/search/spaces/engine_spaces.h"

#include "tests/coordinator/search/spaces/space_checks.h"
#include "tests/support/factor_fixtures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

namespace longrope {
namespace {

using testing::HasSubstr;

TEST(EngineSpacesTest, StartsAreTheClosedFormsOfTheirNames) {
  for (const SpaceSettings& settings : {llama2_settings(), small_settings()}) {
    const auto theta = theta_space(settings);
    const auto yarn = yarn_space(settings);
    const auto llama3 = llama3_space(settings);
    for (const FactorSpace* space : {theta.get(), yarn.get(), llama3.get()}) expect_start_is_feasible(*space);
    expect_lambda(theta->factors(theta->start()).lambda, ntk_factors(settings.geometry, settings.ratio), 1e-13);
    expect_lambda(yarn->factors(yarn->start()).lambda, yarn_factors(settings.geometry, settings.ratio), 1e-13);
    expect_lambda(llama3->factors(llama3->start()).lambda,
                  llama3_factors(settings.geometry, {.factor = settings.ratio}), 1e-13);
  }
}

TEST(EngineSpacesTest, ThetaGivesTheFrequenciesOfItsBase) {
  const SpaceSettings settings = llama2_settings();
  const auto space = theta_space(settings);
  const SpaceParameters parameters{.discrete = {}, .continuous = {std::log(35'000.0)}};
  const std::vector<double> own = inverse_frequencies(settings.geometry);
  const std::vector<double> grown =
      inverse_frequencies({.rotary_dim = 128, .rope_theta = 35'000.0, .original_length = 4096});
  const SpaceFactors factors = space->factors(parameters);
  for (std::size_t pair = 0; pair < 64; ++pair) EXPECT_NEAR(own[pair] / factors.lambda[pair] / grown[pair], 1.0, 1e-13);
  EXPECT_EQ(factors.attention_factor, 1.0);
  expect_chain_is_the_derivative(*space, parameters);
  EXPECT_NEAR(space->factors({{}, {space->continuous({}).front().upper}}).lambda.back(), 5.0, 1e-12);
}

TEST(EngineSpacesTest, YarnIsTheEnginesFormulaForItsBetas) {
  for (const SpaceSettings& settings : {llama2_settings(), small_settings()}) {
    const auto space = yarn_space(settings);
    const std::int64_t last = settings.geometry.rotary_dim - 1;
    for (std::int64_t low = 0; low <= last / 2 - 1; low += 3) {
      for (std::int64_t high = low + 1; high <= last; high += 4) {
        const YarnOptions betas = yarn_betas(settings.geometry, low, high);
        EXPECT_GE(betas.beta_fast, betas.beta_slow);
        const CorrectionRange range = yarn_correction_range(settings.geometry, betas);
        EXPECT_EQ(range.low, static_cast<double>(low));
        EXPECT_EQ(range.high, static_cast<double>(high));
        const SpaceFactors factors =
            space->factors({.discrete = {low, high}, .continuous = {std::log(3.5), std::log(1.02)}});
        expect_lambda(factors.lambda, yarn_factors(settings.geometry, 3.5, betas), 1e-13);
        EXPECT_DOUBLE_EQ(factors.attention_factor, 1.02);
      }
    }
  }
}

TEST(EngineSpacesTest, YarnMatchesTransformers) {
  // transformers 5.24, _compute_yarn_parameters (float32) for head_dim 64, theta 1e4, original 512, factor 6.5,
  // beta_fast and beta_slow of yarn_betas for 5 and 17: inverse frequencies of pairs 0, 5, 8, 12, 17, 31.
  const SpaceSettings settings = small_settings();
  const std::vector<double> lambda =
      yarn_space(settings)->factors({.discrete = {5, 17}, .continuous = {std::log(6.5), 0.0}}).lambda;
  const std::vector<double> frequencies = inverse_frequencies(settings.geometry);
  const std::vector<std::pair<std::size_t, double>> theirs = {{0, 1.0},
                                                              {5, 0.23713736236095428},
                                                              {8, 0.07884615659713745},
                                                              {12, 0.01601409912109375},
                                                              {17, 0.0011536834063008428},
                                                              {31, 2.0515715732472017e-05}};
  for (const auto& [pair, frequency] : theirs) {
    EXPECT_NEAR(frequencies[pair] / lambda[pair] / frequency, 1.0, 1e-6) << pair;
  }
}

TEST(EngineSpacesTest, YarnsChainIsTheDerivative) {
  const auto space = yarn_space(small_settings());
  for (const auto& band : std::vector<std::vector<std::int64_t>>{{0, 1}, {3, 16}, {5, 17}, {20, 63}}) {
    expect_chain_is_the_derivative(*space, {.discrete = band, .continuous = {std::log(6.5), std::log(1.03)}});
  }
}

TEST(EngineSpacesTest, Llama3sChainIsTheDerivative) {
  for (const SpaceSettings& settings : {llama2_settings(), small_settings()}) {
    const auto space = llama3_space(settings);
    for (const double low : {0.37, 1.0, 2.9}) {
      for (const double high : {3.3, 17.0}) {
        expect_chain_is_the_derivative(
            *space, {.discrete = {}, .continuous = {std::log(3.7), std::log(low), std::log(high / low)}});
      }
    }
  }
}

TEST(EngineSpacesTest, BandsThatNoEngineRoundsToAreRefused) {
  const auto space = yarn_space(small_settings());
  for (const auto& band : std::vector<std::vector<std::int64_t>>{{4, 4}, {5, 4}, {-1, 4}, {4, 64}, {31, 40}, {4}}) {
    EXPECT_FALSE(space->admits(band));
    EXPECT_THAT(refusal([&] { (void)space->factors({.discrete = band, .continuous = {0.0, 0.0}}); }),
                HasSubstr("low from 0 to 30 and high from 1 to 63, in rising order"));
  }
  EXPECT_THAT(refusal([] { (void)yarn_betas(small_settings().geometry, 4, 4); }), HasSubstr("4 and 4"));
  EXPECT_THAT(refusal([] { (void)yarn_betas(small_settings().geometry, 4, 64); }), HasSubstr("at most"));
}

TEST(EngineSpacesTest, YarnOfAModelWhosePairsAllRotateStartsWithinItsBounds) {
  SpaceSettings settings = small_settings();
  settings.geometry = {.rotary_dim = 8, .rope_theta = 2.0, .original_length = 65536};
  expect_start_is_feasible(*yarn_space(settings));
}

}  // namespace
}  // namespace longrope
