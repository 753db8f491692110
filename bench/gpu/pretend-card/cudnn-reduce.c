// The part of cuDNN that reductions of whole numbers go through, as numbers of 64 bits. Descriptors are memory of
// cudnnCreate…, whose first bytes belong to the functions here.
#include <string.h>
#define MAXIMUM_RANK 16
#define DOUBLE 1
enum { ADD = 0, MINIMUM = 2, MAXIMUM = 3 };
extern void fake_log(const char*, const char*);

typedef struct {
  int type, rank, sizes[MAXIMUM_RANK];
} Tensor;

int cudnnSetTensorNdDescriptor(Tensor* tensor, int type, int rank, const int* sizes, const int* strides) {
  tensor->type = type;
  tensor->rank = rank;
  memcpy(tensor->sizes, sizes, rank * sizeof(int));
  return 0;
}

int cudnnSetReduceTensorDescriptor(int* operation, int kind, int type, int nan, int indices, int indicesType) {
  *operation = kind;
  return 0;
}

static double combine(int operation, double a, double b) {
  if (operation == ADD) return a + b;
  return operation == MINIMUM ? (a < b ? a : b) : (a > b ? a : b);
}

// The position in `to`, whose reduced dimensions have the size 1, of an element of `from`.
static long target(const Tensor* from, const Tensor* to, long index) {
  long result = 0, stride = 1;
  for (int axis = from->rank - 1; axis >= 0; axis--) {
    long at = index % from->sizes[axis];
    index /= from->sizes[axis];
    if (to->sizes[axis] > 1) result += at * stride;
    stride *= to->sizes[axis];
  }
  return result;
}

int cudnnReduceTensor(void* handle, const int* operation, void* indices, size_t indicesSize, void* workspace, size_t size,
                      const void* alpha, const Tensor* from, const double* a, const void* beta, const Tensor* to, double* c) {
  fake_log("cudnn", "cudnnReduceTensor");
  if (from->type != DOUBLE || (*operation != ADD && *operation != MINIMUM && *operation != MAXIMUM)) return 0;
  long count = 1;
  char seen[4096] = {0};
  for (int axis = 0; axis < from->rank; axis++) count *= from->sizes[axis];
  if (count > (long)sizeof seen) return 0;
  for (long index = 0; index < count; index++) {
    long at = target(from, to, index);
    c[at] = seen[at] ? combine(*operation, c[at], a[index]) : a[index];
    seen[at] = 1;
  }
  return 0;
}
