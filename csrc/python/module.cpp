// The Python module roformer_ext._C: what the build is. Operators need no bindings; the dispatcher
// has them.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "roformer_ext/build_info.h"

PYBIND11_MODULE(_C, m) {
  m.def("build_info", [] {
    const roformer_ext::BuildInfo info = roformer_ext::build_info();
    pybind11::dict dict;
    dict["version"] = info.version;
    dict["torch"] = info.torch;
    dict["cuda"] = info.cuda;
    dict["cpu_level"] = info.cpu_level;
    dict["cpu_levels"] = info.cpu_levels;
    dict["compiler"] = info.compiler;
    return dict;
  });
}
