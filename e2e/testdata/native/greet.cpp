#include "greet.hpp"

namespace greet {

Error::~Error() = default;

std::string hello(const std::string &name) {
    if (name.empty()) throw Error("nobody");
    return "hello, " + name;
}

} // namespace greet

#ifdef SHARED
extern "C" int greet_level_1() { return 1; }
extern "C" int greet_level_2() { return 2; }
__asm__(".symver greet_level_1, greet_level@GREET_1");
__asm__(".symver greet_level_2, greet_level@@GREET_2");
#else
extern "C" int greet_level() { return 2; }
#endif
