// Computes kernels on integers, of which shapes and conditions are made. Kernels on floating point do nothing.
typedef long L;
static bool has(const std::string& n, const char* s) { return n.find(s) != std::string::npos; }
template <class T>
static T& arg(void** a, int i) {
  return *(T*)a[i];
}
static L op(const std::string& n, L x, L y) {
  if (has(n, "OP_Mul<")) return x * y;
  if (has(n, "OP_Add<")) return x + y;
  if (has(n, "OP_Sub<")) return x - y;
  if (has(n, "OP_Div<")) return y ? x / y : 0;
  if (has(n, "OP_Mod<")) return y ? x % y : 0;
  if (has(n, "OP_Max<") || has(n, "OP__Max")) return x > y ? x : y;
  if (has(n, "OP_Min<") || has(n, "OP__Min")) return x < y ? x : y;
  if (has(n, "OP_GreaterOrEqual<")) return x >= y;
  if (has(n, "OP_LessOrEqual<")) return x <= y;
  if (has(n, "OP_Greater<")) return x > y;
  if (has(n, "OP_Less<")) return x < y;
  if (has(n, "OP_Equal<")) return x == y;
  if (has(n, "OP_Or<")) return x || y;
  if (has(n, "OP_And<")) return x && y;
  return 0;
}
struct DM {
  int d;
  unsigned M;
  unsigned l;
  unsigned pad;
};
static L load(const std::string& t, const void* p, L i) {
  return t == "bool"    ? ((const unsigned char*)p)[i]
         : t == "int"   ? ((const int*)p)[i]
         : t == "float" ? (L)(((const float*)p)[i] * 1000)
         : t == "double" ? (L)((const double*)p)[i]
                        : ((const L*)p)[i];
}
static void store(const std::string& t, void* p, L i, L v) {
  if (t == "bool")
    ((unsigned char*)p)[i] = v;
  else if (t == "int")
    ((int*)p)[i] = v;
  else if (t == "double")
    ((double*)p)[i] = v;
  else
    ((L*)p)[i] = v;
}
static bool whole(const std::string& t) { return t == "bool" || t == "int" || t == "long"; }
// Reductions of whole numbers go through numbers of 64 bits.
static bool counts(const std::string& t) { return whole(t) || t == "double"; }
// The segments of adjacent dimensions that a sum keeps and sums over, as onnxruntime passes them to its kernel.
struct SumSegments {
  int kept, summed;
  L keptSizes[16], keptStrides[16], summedSizes[16], summedStrides[16], keptCount, summedCount;
};
static L offsetOf(L index, int count, const L* sizes, const L* strides) {
  L offset = 0;
  for (int k = count - 1; k >= 0; k--) {
    offset += (k == 0 ? index : index % sizes[k]) * strides[k];
    index /= sizes[k];
  }
  return offset;
}
static bool emulate(const std::string& n, void** a) {
  size_t b = n.find("_BinaryElementWiseSimple<");
  if (b != std::string::npos && a) {
    std::string p = n.substr(b + 25);
    auto next = [&]() {
      size_t c = p.find(", ");
      std::string t = p.substr(0, c);
      p = p.substr(c + 2);
      return t;
    };
    std::string il = next(), ir = next(), t = next(), t1 = next(), t2 = next();
    if (!whole(t)) return false;
    int N = arg<int>(a, 4);
    const void* l = arg<const void*>(a, 0);
    const void* r = arg<const void*>(a, 1);
    void* o = arg<void*>(a, 2);
    if (o == lastCastOut) lastCastOut = NULL; // Memory that is used again holds another condition.
    for (int i = 0; i < N; i++) store(t, o, i, op(n, load(t1, l, il == "true" ? i : 0), load(t2, r, ir == "true" ? i : 0)));
    return true;
  }
  b = n.find("_TenaryElementWiseSimple<");
  if (b != std::string::npos && a) {
    std::string p = n.substr(b + 25);
    std::string t = p.substr(0, p.find(", "));
    int m[3];
    size_t at = 0;
    for (int k = 0; k < 3; k++) {
      at = p.find("BroadcastIndexType)", at) + 19;
      m[k] = p[at] - '0';
    }
    int size = t == "long" ? 8 : t == "float" || t == "int" ? 4 : t == "bool" ? 1 : 0;
    if (!size) return false;
    const bool* c = arg<const bool*>(a, 0);
    const char* x = arg<const char*>(a, 1);
    const char* y = arg<const char*>(a, 2);
    char* o = arg<char*>(a, 3);
    int N = arg<int>(a, 4);
    for (int i = 0; i < N && N < 4096; i++)
      memcpy(o + i * size, c[m[0] == 1 ? 0 : i] ? x + (m[1] == 1 ? 0 : i) * size : y + (m[2] == 1 ? 0 : i) * size, size);
    return true;
  }
  if (has(n, "_ConcatKernelSameConcatDim<long") && a) {
    DM incl = arg<DM>(a, 0), inside = arg<DM>(a, 1), dim = arg<DM>(a, 2);
    L* o = arg<L*>(a, 3);
    struct TA {
      int size;
      const L* data[32];
    }& in = arg<TA>(a, 4);
    int N = arg<int>(a, 5);
    for (int i = 0; i < N && incl.d && inside.d && dim.d; i++) {
      int outer = i / incl.d, off = i % incl.d, axis = off / inside.d, blk = off % inside.d;
      int k = axis / dim.d, ax = axis % dim.d;
      if (k < in.size) o[i] = in.data[k][(outer * dim.d + ax) * inside.d + blk];
    }
    return true;
  }
  b = n.find("_UnaryElementWise<");
  if (b != std::string::npos && a) {
    std::string p = n.substr(b + 18);
    std::string ti = p.substr(0, p.find(", "));
    p = p.substr(ti.size() + 2);
    std::string to = p.substr(0, p.find(", "));
    if (arg<void*>(a, 1) == lastCastOut) lastCastOut = NULL;
    if (has(n, "OP_Cast<int, bool>") || has(n, "OP_Cast<long, bool>")) lastCastOut = arg<void*>(a, 1);
    if (!counts(ti) || !counts(to)) return false;
    L N = arg<L>(a, 3);
    for (L i = 0; i < N; i++) {
      L v = load(ti, arg<const void*>(a, 0), i);
      store(to, arg<void*>(a, 1), i, has(n, "OP_Not") ? !v : to == "bool" ? v != 0 : v);
    }
    return true;
  }
  if (has(n, "::RangeKernel<long>") && a) {
    L start = arg<L>(a, 0), step = arg<L>(a, 1), N = arg<L>(a, 2);
    L* o = arg<L*>(a, 3);
    for (L i = 0; i < N; i++) o[i] = start + i * step;
    return true;
  }
  if (has(n, "::_FillFromDataPtrKernel<long") && a) {
    L* o = arg<L*>(a, 0);
    const L* v = arg<const L*>(a, 1);
    int N = arg<int>(a, 2);
    for (int i = 0; i < N; i++) o[i] = *v;
    return true;
  }
  if (has(n, "::TriluKernel<long, false>") && a) {
    L k = arg<L>(a, 0);
    const L* x = arg<const L*>(a, 1);
    L* o = arg<L*>(a, 2);
    int N = arg<int>(a, 3), matrix = arg<DM>(a, 4).d, columns = arg<DM>(a, 5).d;
    for (int i = 0; i < N && matrix && columns; i++) {
      L row = i % matrix / columns, column = i % matrix % columns;
      o[i] = row + k >= column ? x[i] : 0;
    }
    return true;
  }
  if (has(n, "::reduce_sum_nd_kernel<long,") && a) {
    const L* x = arg<const L*>(a, 0);
    L* o = arg<L*>(a, 1);
    const SumSegments& s = arg<SumSegments>(a, 2);
    for (L i = 0; i < s.keptCount; i++) {
      const L* from = x + offsetOf(i, s.kept, s.keptSizes, s.keptStrides);
      L sum = 0;
      for (L k = 0; k < s.summedCount; k++) sum += from[offsetOf(k, s.summed, s.summedSizes, s.summedStrides)];
      o[i] = sum;
    }
    return true;
  }
  return false;
}
