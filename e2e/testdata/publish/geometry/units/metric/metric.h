#ifndef METRIC_H_
#define METRIC_H_

#define METRIC_DIMENSIONS 2

#endif
