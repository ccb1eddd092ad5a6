#include <greet.hpp>

extern "C" int middle() {
    try {
        greet::hello("");
    } catch (const greet::Error &) {
        return greet_level() == 2;
    }
    return 0;
}
