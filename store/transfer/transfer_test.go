package transfer_test

import (
	"strings"
	"testing"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/transfer"
)

type source []transfer.Line

func (s source) Export(emit func(transfer.Line) error, _ func(error)) error {
	for _, l := range s {
		if err := emit(l); err != nil {
			return err
		}
	}
	return nil
}

// FuzzRead: whatever is read, it ends with one error, or with lines that are read the same when
// they are written down again.
func FuzzRead(f *testing.F) {
	var whole strings.Builder
	r := transfer.Record(lifecycle.Request{ID: "a", Owner: "alice", Status: lifecycle.Pending, StartedBy: "\xff"})
	if _, err := transfer.Write(&whole, source{
		{Kind: transfer.Request, Request: &r, Serial: 1, Ticket: 2}, {Kind: transfer.Content, Part: transfer.Input, Data: []byte("x")},
	}, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(whole.String())
	f.Add(whole.String()[:whole.Len()-3])
	f.Add("{\"kind\":\"hark-export\",\"version\":1}\n{\"kind\":\"end\",\"lines\":2}\n")
	f.Fuzz(func(t *testing.T, text string) {
		read := func(text string) (lines source, failed int) {
			for l, err := range transfer.Read(strings.NewReader(text)) {
				if err != nil {
					failed++
					continue
				}
				lines = append(lines, l)
			}
			return lines, failed
		}
		lines, failed := read(text)
		if failed > 1 {
			t.Fatalf("%d errors", failed)
		}
		if failed == 1 {
			return
		}
		var again strings.Builder
		if _, err := transfer.Write(&again, lines, nil); err != nil {
			return // what JSON takes and does not give, like a time beyond its years
		}
		if back, failed := read(again.String()); failed > 0 || len(back) != len(lines) {
			t.Errorf("%d lines, then %d, %d errors", len(lines), len(back), failed)
		}
	})
}
