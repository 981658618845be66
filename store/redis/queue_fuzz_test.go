package redis

import (
	"strings"
	"testing"

	"github.com/hark-push/hark/lifecycle"
)

// FuzzWork: an entry that can be read names what it was made of.
func FuzzWork(f *testing.F) {
	f.Add("images\x0091796091077457127id/k3m9p2q4rz")
	f.Add("images\x0001796091077457127id\nmessage\n7")
	f.Add("\x009")
	f.Fuzz(func(t *testing.T, entry string) {
		w, ok := workOf(entry)
		if !ok {
			return
		}
		name, _, _ := strings.Cut(entry[len(w.Route)+2+ticketSize:], "\n")
		if w.Entry != entry || w.Rank < 0 || w.Rank > 9 || !strings.HasPrefix(entry, queueOf(w.Route, w.Rank)) || w.Request != lifecycle.ParseRef(name) {
			t.Errorf("%q is %+v", entry, w)
		}
	})
}
