#include <shapes/shape.h>

#include "geometry/area.h"
#include "geometry/rounding.h"

namespace shapes {
std::string describe_circle(double radius, const std::string &unit) {
    return std::to_string(geometry::rounded(geometry::circle_area(radius))) + " square " + unit;
}
}
