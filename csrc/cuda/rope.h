// The rotary operator on CUDA: one launch for forward, backward and in place.
#pragma once

#include "core/rope_params.h"

struct CUstream_st;  // what cudaStream_t points to

namespace roformer_ext::cuda {

// Enqueues the rotation described by `params` on `stream` of the current device, without
// synchronising; safe under CUDA graph capture. All pointers are device pointers and stay valid
// until the stream has passed. Every case of RopeParams is taken as it is: nothing falls back to a
// copy.
//
// An id outside [-1, rows) stops the kernel with a device-side assertion; it is never used as a
// row.
//
// Returns the cudaError_t of the launch; 0 is success, also when there is nothing to do.
int launch_rope(const core::RopeParams& params, CUstream_st* stream);

}  // namespace roformer_ext::cuda
