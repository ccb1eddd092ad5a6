#include "geometry/area.h"

#include <math.h>
#include <metric.h>
#include <metric/metric.h>

namespace geometry {
double circle_area(double radius) { return fmin(acos(-1.0) * pow(radius, METRIC_DIMENSIONS), GEOMETRY_LARGEST); }
}
