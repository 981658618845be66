package node

import (
	"strings"
	"testing"
)

// TestAllot: whatever the limit, push and plain connections leave a reserve, and neither takes all.
func TestAllot(t *testing.T) {
	for _, limit := range []uint64{256, 257, 512, 1024, 4096, 20_000, 65_536, 1 << 20, 1 << 40} {
		p, err := allot(limit, true, 0, 1024)
		if err != nil {
			t.Fatal(err)
		}
		n := int(min(limit, 1<<24))
		if p.all+p.webhooks+64 > n || p.push >= p.all || p.plain >= p.all || p.push < n/3 || p.plain < n/4 || p.webhooks < 16 {
			t.Errorf("%d: %+v", limit, p)
		}
	}
	if p, err := allot(1024, true, 5000, 1024); err != nil || p.push != 5000 || p.tooMany < 4000 {
		t.Errorf("%+v %v", p, err)
	}
	if p, err := allot(0, false, 7, 9); err != nil || p != (places{push: 7, webhooks: 9}) {
		t.Errorf("%+v %v", p, err)
	}
	if _, err := allot(255, true, 0, 1024); err == nil || !strings.Contains(err.Error(), "ulimit -n 20000") {
		t.Error(err)
	}
	if one, all := share(0, 10, 1, 2), share(3, 10, 1, 2); one != 5 || all != 3 || share(0, 0, 1, 2) != 0 || share(0, 1, 1, 2) != 1 {
		t.Error(one, all)
	}
}
