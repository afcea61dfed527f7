// config.json, read.
//
// The idea: a configuration of defaults goes in, and what the file states counts before them. What
// must stay true: fields of another type than theirs are refused, unknown ones pass silently.
#pragma once

#include <roformer_ext/config.h>

#include <string>
#include <string_view>

namespace roformer_ext::io {

// The configuration that `text` is, checked. FileError, with `path` and the field in it, where it
// is no JSON object, of another `model_type` than roformer or roformer_ext, or fails `check`.
RoFormerConfig parse_config(std::string_view text, const std::string& path,
                            RoFormerConfig defaults = {});

}  // namespace roformer_ext::io
