// Catch2 for every test: version 2 (Debian 12, Ubuntu 22.04) or version 3.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
namespace roformer_ext::testing {
inline auto contains(const std::string& text) { return Catch::Matchers::ContainsSubstring(text); }
}  // namespace roformer_ext::testing
#else
#include <catch2/catch.hpp>
namespace roformer_ext::testing {
inline auto contains(const std::string& text) { return Catch::Matchers::Contains(text); }
}  // namespace roformer_ext::testing
#endif
