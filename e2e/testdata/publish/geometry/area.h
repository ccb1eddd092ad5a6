#ifndef GEOMETRY_AREA_H_
#define GEOMETRY_AREA_H_

#include "geometry/limits.h"

namespace geometry {
double circle_area(double radius);
}

#endif
