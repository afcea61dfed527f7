// What a shared library of ours shows: everything else is hidden.
#pragma once

#if defined(_WIN32)
#define ROFORMER_EXT_API
#else
#define ROFORMER_EXT_API __attribute__((visibility("default")))
#endif
