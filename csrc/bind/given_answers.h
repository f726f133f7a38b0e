// What is asked of both engines in the same way, of one picture's tokens: the fused tokens, and
// answers that are given.
#pragma once

#include <vector>

#include "bind/arrays.h"
#include "bind/model_arguments.h"

namespace tokenfuse {

// (N, T): what the decoder reads. `num_latents` of f are checked, the rest is checked here.
template <typename Engine, typename Count>
FloatArray fused_of(Engine& engine, const ContiguousFloats& f_ND, Count num_latents,
                    const IdArray& text_ids) {
  const Ids text = text_of(engine.config(), text_ids);
  FloatArray fused_NT = new_array({num_latents, engine.config().text.width});
  const float* f = f_ND.data();
  float* to = fused_NT.mutable_data();
  pybind11::gil_scoped_release release;
  engine.fuse(f, num_latents, text, to);
  return fused_NT;
}

// The log-probability of each candidate. As above.
template <typename Engine, typename Count>
FloatArray scores_of(Engine& engine, const ContiguousFloats& f_ND, Count num_latents,
                     const IdArray& text_ids, const std::vector<IdArray>& candidates) {
  const Ids text = text_of(engine.config(), text_ids);
  std::vector<Ids> answers;
  for (const IdArray& one : candidates) answers.push_back(answer_of(engine.config(), one));
  FloatArray log_probs = new_array({static_cast<pybind11::ssize_t>(answers.size())});
  const float* f = f_ND.data();
  float* to = log_probs.mutable_data();
  pybind11::gil_scoped_release release;
  engine.score(f, num_latents, text, answers, to);
  return log_probs;
}

// (A, V): the logits of each id of an answer. As above.
template <typename Engine, typename Count>
FloatArray logits_of(Engine& engine, const ContiguousFloats& f_ND, Count num_latents,
                     const IdArray& text_ids, const IdArray& answer_ids) {
  const Ids text = text_of(engine.config(), text_ids);
  const Ids answer = answer_of(engine.config(), answer_ids);
  FloatArray logits_AV = new_array({answer.count, engine.config().text.vocab_size});
  const float* f = f_ND.data();
  float* to = logits_AV.mutable_data();
  pybind11::gil_scoped_release release;
  engine.logits(f, num_latents, text, answer, to);
  return logits_AV;
}

}  // namespace tokenfuse
