package lifecycle_test

import (
	"errors"
	"testing"

	"github.com/hark-push/hark/lifecycle"
)

// TestUsage: what a request counts for falls as it ends, and a batch counts for its requests until
// they are there.
func TestUsage(t *testing.T) {
	of := func(status lifecycle.Status, result *lifecycle.Result, batch *lifecycle.Batch) lifecycle.Usage {
		r := lifecycle.Request{Counted: true, Status: status, Input: lifecycle.ContentInfo{Size: 10}, Result: result, Batch: batch}
		return r.Usage()
	}
	result, batch := &lifecycle.Result{ContentInfo: lifecycle.ContentInfo{Size: 5}}, &lifecycle.Batch{Total: 7}
	for _, c := range []struct{ got, want lifecycle.Usage }{
		{of(lifecycle.Pending, nil, nil), lifecycle.Usage{Open: 1, Bytes: 10}},
		{of(lifecycle.Processing, nil, nil), lifecycle.Usage{Open: 1, Bytes: 10}},
		{of(lifecycle.Succeeded, result, nil), lifecycle.Usage{Bytes: 15}},
		{of(lifecycle.Failed, nil, nil), lifecycle.Usage{Bytes: 10}},
		{of(lifecycle.Pending, nil, batch), lifecycle.Usage{Open: 8, Bytes: 20}},
		{of(lifecycle.Processing, nil, batch), lifecycle.Usage{Open: 1, Bytes: 10}},
		{of(lifecycle.Pending, nil, &lifecycle.Batch{Total: 7, Then: "t"}), lifecycle.Usage{Open: 9, Bytes: 20}},
		{of(lifecycle.Processing, nil, &lifecycle.Batch{Total: 7, Then: "t"}), lifecycle.Usage{Open: 2, Bytes: 10}},
		{of(lifecycle.Failed, result, &lifecycle.Batch{Total: 7, Then: "t"}), lifecycle.Usage{Bytes: 15}},
	} {
		if c.got != c.want {
			t.Errorf("%+v, want %+v", c.got, c.want)
		}
	}
	old := lifecycle.Request{Status: lifecycle.Pending, Input: lifecycle.ContentInfo{Size: 10}}
	if old.Usage() != (lifecycle.Usage{}) {
		t.Error("one that was never counted counts")
	}
}

// TestQuota: exactly what is allowed is admitted, and the error names the limit.
func TestQuota(t *testing.T) {
	for _, c := range []struct {
		quota      lifecycle.Quota
		used, more lifecycle.Usage
		policy     string
	}{
		{lifecycle.Quota{}, lifecycle.Usage{Open: 1 << 40, Bytes: 1 << 60}, lifecycle.Usage{Open: 1, Bytes: 1}, ""},
		{lifecycle.Quota{Open: 3, Bytes: 10}, lifecycle.Usage{Open: 2, Bytes: 9}, lifecycle.Usage{Open: 1, Bytes: 1}, ""},
		{lifecycle.Quota{Open: 3, Bytes: 10}, lifecycle.Usage{Open: 3, Bytes: 0}, lifecycle.Usage{Open: 1, Bytes: 1}, lifecycle.PolicyOpen},
		{lifecycle.Quota{Open: 3, Bytes: 10}, lifecycle.Usage{Open: 0, Bytes: 9}, lifecycle.Usage{Open: 1, Bytes: 2}, lifecycle.PolicyStored},
		{lifecycle.Quota{Bytes: 10}, lifecycle.Usage{Open: 99}, lifecycle.Usage{Open: 1, Bytes: 11}, lifecycle.PolicyStored},
		{lifecycle.Quota{Waiting: 3}, lifecycle.Usage{Waiting: 2}, lifecycle.Usage{Open: 1, Waiting: 1}, ""},
		{lifecycle.Quota{Waiting: 3}, lifecycle.Usage{Waiting: 2}, lifecycle.Usage{Open: 3, Waiting: 2}, lifecycle.PolicyWaiting},
	} {
		err := c.quota.Admit(c.used, c.more)
		e, _ := errors.AsType[*lifecycle.QuotaError](err)
		if (e == nil) != (c.policy == "") || e != nil && e.Policy != c.policy {
			t.Errorf("%+v + %+v of %+v: %v", c.used, c.more, c.quota, err)
		}
	}
}
