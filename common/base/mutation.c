#include "common/base/mutation.h"

#ifdef CW_MUTATION
enum cw_mutation cw_mutation_now;
#endif
