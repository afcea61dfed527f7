// The safetensors reader: what a good file gives, and each kind of lie that is refused by name.
#include "io/safetensors.h"

#include <string>
#include <vector>

#include "catch.h"
#include "io/file_error.h"
#include "io/mapped_file.h"
#include "samples.h"

namespace {

using namespace roformer_ext::io;           // NOLINT(google-build-using-namespace)
using namespace roformer_ext::io::testing;  // NOLINT(google-build-using-namespace)
using roformer_ext::testing::contains;

// One tensor `w` of two floats, its parts as a test wants them.
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return file_of("{" + entry("w", dtype, shape, offsets) + "}", 8);
}

TEST_CASE("a good file gives its tensors", "[io]") {
  const Folder folder;
  const MappedFile file(folder.write("a.safetensors", valid_file()));
  const TensorViews views = parse_safetensors(file.bytes(), "a");
  REQUIRE(views.size() == 3);
  CHECK(views.at("a").dtype == Dtype::kBF16);
  CHECK(views.at("a").shape.empty());
  CHECK(views.at("a").bytes.size() == 2);
  CHECK(std::to_integer<int>(views.at("b").bytes.front()) == 3);
  CHECK(views.at("b").shape == std::vector<std::int64_t>{2, 1});
  CHECK(views.at("none").bytes.empty());
  CHECK(parse_copy(valid_file()) == 55);
  CHECK(parse_copy(file_of("{}", 0)) == 0);
}

TEST_CASE("lengths are held to the file", "[io]") {
  CHECK_THROWS_WITH(parse_copy(""), contains("8 bytes of header length, got 0"));
  CHECK_THROWS_WITH(parse_copy("1234567"), contains("got 7"));
  CHECK_THROWS_WITH(parse_copy(std::string(8, '\xff')), contains("18446744073709551615"));
  CHECK_THROWS_WITH(parse_copy(std::string("\x02\0\0\0\0\0\0\0{", 9)), contains("header of 2"));
  std::string file = one("F32", "[2]", "[0,8]");
  CHECK(parse_copy(file) == 36);
  CHECK_THROWS_WITH(parse_copy(file + "x"), contains("end with its last tensor"));
  file.pop_back();
  CHECK_THROWS_WITH(parse_copy(file), contains("'w' up to byte 8 of its data, got 7"));
}

TEST_CASE("a header of more than 100 MB is refused before it is read", "[io]") {
  std::string file("\x01\xe1\xf5\x05\0\0\0\0", 8);  // 100,000,001
  file.resize(file.size() + 100'000'001, ' ');
  CHECK_THROWS_WITH(parse_copy(file), contains("100 MB at most"));
}

TEST_CASE("shape, dtype and offsets must agree", "[io]") {
  CHECK_THROWS_WITH(parse_copy(one("F32", "[3]", "[0,8]")), contains("F32 need, 12"));
  CHECK_THROWS_WITH(parse_copy(one("F32", "[2]", "[8,0]")), contains("from 8 to 0"));
  CHECK_THROWS_WITH(parse_copy(one("F32", "[4294967296,4294967296]", "[0,8]")),
                    contains("more than 64 bits can count"));
  CHECK_THROWS_WITH(parse_copy(one("F32", "[4611686018427387904,4]", "[0,0]")),
                    contains("more than 64 bits can count"));
  CHECK_THROWS_WITH(parse_copy(one("F32", "[9223372036854775808]", "[0,8]")),
                    contains("'w' a known dtype, a shape"));
  CHECK_THROWS_WITH(parse_copy(one("F8_E4M3", "[8]", "[0,8]")), contains("got 'F8_E4M3'"));
  for (const std::string shape :
       {"[-2]", "[2.0]", "[1e0]", "2", "null", "[[2]]", "[\"2\"]", "{}"}) {
    CHECK_THROWS_WITH(parse_copy(one("F32", shape, "[0,8]")), contains("'w'"));
  }
  for (const std::string offsets : {"[0]", "[0,8,8]", "[]", "[-1,7]", "[0,8.0]", "8", "null"}) {
    CHECK_THROWS_WITH(parse_copy(one("F32", "[2]", offsets)), contains("'w'"));
  }
  const std::string many = "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2]";
  CHECK(parse_copy(one("F32", many, "[0,8]")) == 36);
  CHECK_THROWS_AS(parse_copy(one("F32", "[1," + many.substr(1), "[0,8]")), FileError);
}

TEST_CASE("tensors fill the data without overlap, hole or repetition", "[io]") {
  const auto two = [](const std::string& first, const std::string& second) {
    return file_of(
        "{" + entry("a", "U8", "[4]", first) + "," + entry("b", "U8", "[4]", second) + "}", 8);
  };
  CHECK(parse_copy(two("[4,8]", "[0,4]")) == 36);
  CHECK_THROWS_WITH(parse_copy(two("[0,4]", "[2,6]")), contains("'b' from byte 4"));
  CHECK_THROWS_WITH(parse_copy(two("[0,4]", "[0,4]")), contains("'b' from byte 4"));
  CHECK_THROWS_WITH(parse_copy(two("[0,4]", "[5,9]")), contains("'b' from byte 4"));
  CHECK_THROWS_WITH(parse_copy(two("[1,5]", "[5,9]")), contains("'a' from byte 0"));
  const std::string again = entry("a", "U8", "[4]", "[0,4]");
  std::string twice = "{";
  twice.append(again).append(",").append(again).append("}");
  CHECK_THROWS_WITH(parse_copy(file_of(twice, 4)), contains("second"));
}

TEST_CASE("a header is one strict JSON object", "[io]") {
  const auto header = [](const std::string& text) { return parse_copy(file_of(text, 0)); };
  for (const std::string text : {"", " {}", "[]", "\xef\xbb\xbf{}", "null"}) {
    CHECK_THROWS_WITH(header(text), contains("begins with {"));
  }
  for (const std::string text : {"{", "{}{}", "{},", "{} x", "{\"a\"}", "{'a':{}}", "{//\n}",
                                 "{\"\xff\":{}}", "{\"a\":{},}"}) {
    CHECK_THROWS_AS(header(text), FileError);
  }
  CHECK_THROWS_WITH(header("{} x"), contains("error at byte 11"));
  CHECK_THROWS_WITH(header(std::string("{}\0x", 4)), contains("a zero at byte 10"));
  CHECK_THROWS_WITH(header(R"({"a":{"dtype":"U8","shape":[0]}})"), contains("fewer fields"));
  CHECK_THROWS_WITH(header(R"({"a":{"dtype":"U8","dtype":"U8"}})"), contains("'dtype' twice"));
  CHECK_THROWS_WITH(header(R"({"a":{"more":1}})"), contains("got 'more'"));
  CHECK_THROWS_WITH(header(R"({"a":7})"), contains("got 7"));
  CHECK_THROWS_WITH(header(R"({"__metadata__":{"a":7}})"), contains("an object of strings, got 7"));
  CHECK_THROWS_WITH(header(R"({"__metadata__":[]})"), contains("an object of strings"));
  CHECK_THROWS_WITH(header("{\"a\":" + std::string(100'000, '[')), contains("an array"));
  CHECK_THROWS_WITH(header("{\"\\u0007" + std::string(500, 'n') + "\":1}"), contains("\\x07nnn"));
}

TEST_CASE("only a regular file is mapped", "[io]") {
  const Folder folder;
  CHECK_THROWS_WITH(MappedFile(folder.path()), contains("regular file"));
  CHECK_THROWS_WITH(MappedFile(folder.path() + "/none"), contains("No such file"));
  CHECK(MappedFile(folder.write("empty", "")).bytes().empty());
}

}  // namespace
