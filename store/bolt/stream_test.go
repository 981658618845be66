package bolt_test

import (
	"path/filepath"
	"testing"

	"github.com/hark-push/hark/store/bolt"
	"github.com/hark-push/hark/store/streamtest"
)

func TestStreamConformance(t *testing.T) {
	streamtest.Run(t, func(t *testing.T) streamtest.Instance {
		path := filepath.Join(t.TempDir(), "hark.db")
		clock := newClock()
		o := bolt.Options{Now: clock.Now, NoSync: true}
		s := open(t, path, o)
		return streamtest.Instance{
			Store:   s,
			Advance: clock.Advance,
			Reopen: func() streamtest.Store {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, path, o)
				return s
			},
		}
	})
}
