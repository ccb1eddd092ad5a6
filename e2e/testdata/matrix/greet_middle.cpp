#include <greet.hpp>

// Which greet_level it gets depends on how this library is linked: see docs/linking.md.
extern "C" int middle() {
    try {
        greet::hello("");
    } catch (const greet::Error &) {
        return greet_level() >= 1;
    }
    return 0;
}
