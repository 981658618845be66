package parts

import (
	"bytes"
	"slices"
	"testing"

	"github.com/hark-push/hark/lifecycle"
)

func TestListeners(t *testing.T) {
	var l Listeners
	var heard []string
	l.Tell("nobody")
	stopA := l.Add(func(s string) { heard = append(heard, "a "+s) })
	var stopB func()
	stopB = l.Add(func(s string) {
		heard = append(heard, "b "+s)
		stopB() // while it is being told
	})
	l.Tell("1")
	l.Tell("2")
	stopA()
	stopA()
	l.Tell("3")
	if want := []string{"a 1", "b 1", "a 2"}; !slices.Equal(heard, want) {
		t.Errorf("%q, want %q", heard, want)
	}
}

func FuzzBody(f *testing.F) {
	f.Add([]byte("\x0atext/plainhello"))
	f.Add([]byte{0})
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, value []byte) {
		c, err := DecodeBody(value)
		if err != nil {
			return
		}
		again, err := DecodeBody(EncodeBody(c))
		if err != nil || again.Type != c.Type || !bytes.Equal(again.Data, c.Data) {
			t.Errorf("%q became %+v, %v", value, again, err)
		}
	})
	if _, err := DecodeBody(EncodeBody(lifecycle.Content{})); err != nil {
		f.Error(err)
	}
}
