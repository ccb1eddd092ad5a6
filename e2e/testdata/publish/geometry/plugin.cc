#include <cstdio>

namespace {
struct Plugin {
    Plugin() { std::puts("the plugin is here"); }
} plugin;
}
