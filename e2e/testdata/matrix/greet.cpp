#include <greet.hpp>

#include <cstdio>

// What is thrown in the library is caught here.
int main() {
    std::printf("%s, %d\n", greet::hello("you").c_str(), greet_level());
    try {
        greet::hello("");
    } catch (const greet::Error &e) {
        std::printf("%s\n", e.what());
        return greet_level() == 2 ? 0 : 1;
    }
    return 1;
}
