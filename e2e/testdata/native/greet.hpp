#pragma once
#include "greet.h"

#include <stdexcept>
#include <string>

namespace greet {

class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
    ~Error() override;
};

std::string hello(const std::string &name); // throws Error where there is no name

} // namespace greet
