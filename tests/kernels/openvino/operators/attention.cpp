/* Linear and hybrid attention: every feature map, heads before tokens or after them, from one token to several parts. */
#include "f32_hybrid_attention/operator.h"
#include "f32_linear_attention/operator.h"
#include "operators.h"

namespace {

const char* const maps[] = {
    "relu", "elu", "taylor", "hedgehog-exp", "hedgehog-split-softmax", "hedgehog-joint-softmax"};

struct Heads {
    size_t batch, heads, queries, keys, size, values;
    std::string map, tokens_first;
    Operands operands;

    Heads(Random& random, size_t queries, size_t keys)
        : batch(random.between(1, 2)),
          heads(random.between(1, 3)),
          queries(queries),
          keys(keys),
          size(random.between(1, 13)),
          values(random.between(1, 21)),
          map(maps[random.between(0, 5)]) {
        add(random, "query", queries, size);
        add(random, "key", keys, size);
        add(random, "value", keys, values);
        if (random.chance())
            tokens_first += "out";
    }

    void add_maps(Random& random) {
        if (map.rfind("hedgehog", 0) != 0)
            return;
        const size_t mapped = random.between(1, 9);
        for (const char* side : {"query", "key"}) {
            operands.add(side + std::string("_weight"), drawn(random, {heads, size, mapped}));
            if (random.chance())
                operands.add(side + std::string("_bias"), drawn(random, {heads, 1, mapped}));
        }
    }

    std::map<std::string, ov::Any> attributes() const {
        return {{"feature_map", map}, {"roles", operands.roles}, {"tokens_first", tokens_first}};
    }

private:
    void add(Random& random, const std::string& role, size_t tokens, size_t channels) {
        const bool first = random.chance();
        tokens_first += first ? role + "," : "";
        operands.add(role, drawn(random, first ? ov::Shape{batch, tokens, heads, channels}
                                               : ov::Shape{batch, heads, tokens, channels}));
    }
};

}  // namespace

void fuzz_hybrid_attention(Random& random) {
    const size_t tokens = random.any({1, 5, 63, 64, 65, 130});
    Heads heads(random, tokens, tokens);
    heads.operands.add("gate", drawn(random, {heads.heads, 1, 1}));
    heads.add_maps(random);
    auto attributes = heads.attributes();
    attributes["window"] = random.any({1, 4, 16, 70}), attributes["causal"] = random.between(0, 1);
    attributes["scale"] = 0.3;
    check_operator<edgeopt::HybridAttention>(heads.operands.tensors, Attributes(attributes), 2e-5f, "HybridAttention");
}

void fuzz_linear_attention(Random& random) {
    const bool causal = random.between(0, 3) == 0;
    const size_t keys = random.any({1, 5, 48, 49, 100, 513, 600}), queries = causal ? keys : random.any({1, 61, 520});
    Heads heads(random, queries, keys);
    heads.add_maps(random);
    auto attributes = heads.attributes();
    attributes["causal"] = int64_t(causal), attributes["epsilon"] = 0.1;
    if (queries == keys && random.chance()) {
        const int64_t height = random.between(1, std::min<int64_t>(5, keys));
        const size_t kernel = random.any({1, 3, 5});
        heads.operands.add("depthwise", drawn(random, {heads.values, 1, kernel, kernel}));
        if (random.chance())
            heads.operands.add("depthwise_bias", drawn(random, {heads.values}));
        attributes["grid"] = std::vector<int64_t>{height, int64_t(keys) / height};
        attributes["roles"] = heads.operands.roles;
    }
    check_operator<edgeopt::LinearAttention>(heads.operands.tensors, Attributes(attributes), 2e-5f, "LinearAttention");
}
