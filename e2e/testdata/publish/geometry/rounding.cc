#include "geometry/rounding.h"

namespace geometry {
int rounded(double value) { return static_cast<int>(value + 0.5); }
}
