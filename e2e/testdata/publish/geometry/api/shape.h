#ifndef SHAPES_SHAPE_H_
#define SHAPES_SHAPE_H_

#include <string>

#ifndef GEOMETRY_UNIT
#error "what is defined for those who use the library did not come with it"
#endif

namespace shapes {
// The area of a circle, such as "314 square cm".
std::string describe_circle(double radius, const std::string &unit);
}

#endif
