package codec

import (
	"bytes"
	"encoding/base64"
	"reflect"
	"slices"
	"strings"
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

// TestNames: what stands in stores stays as it is.
func TestNames(t *testing.T) {
	var letters strings.Builder
	for _, status := range append([]lifecycle.Status{""}, lifecycle.Statuses...) {
		letters.WriteString(StatusLetter(status) + " ")
	}
	if letters.String() != " p r w s f c e " {
		t.Errorf("status letters %q", letters.String())
	}
	entry := OwnerEntry(&lifecycle.Request{ID: "a", Route: "images", Topic: "order-42"})
	id, route, topic := CutOwnerEntry([]byte(entry))
	if entry != "a\x00images\x00order-42" || string(id) != "a" || string(route) != "images" || string(topic) != "order-42" {
		t.Errorf("%q is %q, %q and %q", entry, id, route, topic)
	}
	for _, key := range []struct{ key, want string }{
		{"k", "J6F4dmXeIZvU_btEUUX04ELsUtCHXC89LSLcXxhJRkY"},
		{"\xff", "WEAgBDacbsHg4IYgQkN05-b6NiPg_3wo0vfo7kgcONQ"},
		{"\ufffd", "WEAgBDacbsHg4IYgQkN05-b6NiPg_3wo0vfo7kgcONQ"},
	} {
		digest := KeyDigest("alice", key.key)
		if got := base64.RawURLEncoding.EncodeToString(digest[:]); got != key.want {
			t.Errorf("the digest of %q is %s", key.key, got)
		}
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

// TestSums: any flipped bit of a record or a body that has a sum is noticed; what has none is read.
func TestSums(t *testing.T) {
	r := lifecycle.Request{ID: "a", Owner: "alice", Route: "images", Status: lifecycle.Pending, Sequence: 3, Message: "half"}
	head := "pa/3/\n"
	summed := AppendSummed([]byte(head), 0, &r)[len(head):]
	decode := func(head, data string) (got lifecycle.Request, err error) {
		got.ID = "a"
		return got, DecodeSummed(head, data, &got)
	}
	for _, data := range []string{string(summed), string(AppendRecord(nil, &r))} {
		if got, err := decode(head, data); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	flip := func(data []byte, bit int) []byte {
		flipped := bytes.Clone(data)
		flipped[bit/8] ^= 1 << (bit % 8)
		return flipped
	}
	for bit := range len(summed) * 8 {
		if got, err := decode(head, string(flip(summed, bit))); err == nil {
			t.Errorf("bit %d: %+v", bit, got)
		}
	}
	for bit := range len(head) * 8 {
		if got, err := decode(string(flip([]byte(head), bit)), string(summed)); err == nil {
			t.Errorf("bit %d of the head: %+v", bit, got)
		}
	}
	c := lifecycle.Content{Type: "text/plain", Data: []byte("hello")}
	body := SealBody(c)
	for _, value := range [][]byte{body, EncodeBody(c)} {
		if got, err := OpenBody(value); err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	for bit := len(bodyMark) * 8; bit < len(body)*8; bit++ {
		if got, err := OpenBody(flip(body, bit)); err == nil {
			t.Errorf("bit %d: %+v", bit, got)
		}
	}
}
