package peer

import "testing"

func TestMetrics(t *testing.T) {
	m := parseMetrics("# HELP go_goroutines Number\ngo_goroutines 12\nhark_connections{wire=\"sse\"} 3\nx{a=\"b c\"} 1e+06\nnonsense\nnan x\n")
	if m["go_goroutines"] != 12 || m[`hark_connections{wire="sse"}`] != 3 || m[`x{a="b c"}`] != 1e6 || len(m) != 3 {
		t.Error(m)
	}
}
