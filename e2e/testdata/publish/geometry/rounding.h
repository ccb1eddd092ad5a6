#ifndef GEOMETRY_ROUNDING_H_
#define GEOMETRY_ROUNDING_H_

namespace geometry {
int rounded(double value);
}

#endif
