// The inputs of one head of an attention, in rows with gaps, and its scores in double precision.
#pragma once

#include <algorithm>

#include "kernels/attention/attention.h"
#include "rows.h"

namespace tokenfuse::test {

enum class Bias { kNone, kRows, kRelative };

struct AttentionHead {
  Rows q, k, v, bias, o;
  AttentionArgs args{};

  AttentionHead(std::int64_t queries, std::int64_t keys, std::int64_t head_dim, Bias kind,
                Layout layout, float scale = 1.0f)
      : q(Rows::random(1, scale, queries, head_dim, layout.gap, layout.offset)),
        k(Rows::random(2, scale, keys, head_dim, layout.gap, layout.offset)),
        v(Rows::random(3, 1.0f, keys, head_dim, 2 * layout.gap, layout.offset)),
        bias(kind == Bias::kRelative ? Rows::random(4, 1.0f, 1, std::max(queries + keys - 1, 0L))
                                     : Rows::random(4, 1.0f, queries, keys, layout.gap)),
        o(queries, head_dim, layout.gap, layout.offset) {
    args.q = q.data();
    args.ldq = q.stride();
    args.k = k.data();
    args.ldk = k.stride();
    args.v = v.data();
    args.ldv = v.stride();
    args.o = o.data();
    args.ldo = o.stride();
    args.num_queries = queries;
    args.num_keys = keys;
    args.head_dim = head_dim;
    args.scale = head_dim == 0 ? 1.0f : 1.0f / std::sqrt(static_cast<float>(head_dim));
    if (kind == Bias::kNone) return;
    // Relative: one line of numbers, in which each row begins one before the last one.
    const bool relative = kind == Bias::kRelative;
    args.bias = bias.data() + (relative ? std::max<std::int64_t>(queries - 1, 0) : 0);
    args.ldb = relative ? -1 : bias.stride();
  }

  double score(std::int64_t i, std::int64_t j) const {
    double sum = 0.0;
    for (std::int64_t d = 0; d < args.head_dim; ++d) {
      sum += static_cast<double>(q.at(i, d)) * k.at(j, d);
    }
    sum *= static_cast<double>(args.scale);
    return args.bias == nullptr ? sum : sum + args.bias[i * args.ldb + j];
  }
};

}  // namespace tokenfuse::test
