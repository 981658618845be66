package wal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// frameOf returns a frame with a number that holds something.
func frameOf(l *Log, number uint64, held string) []byte {
	frame := append(make([]byte, FrameHeader), held...)
	l.Seal(frame, number)
	return frame
}

// three makes a log with the frames 6 to 8, of which those up to 7 are acknowledged, and returns
// the content of its file, and where the first frame begins and each ends.
func three(t *testing.T, path string) (content []byte, ends []int) {
	t.Helper()
	l, err := Create(path, Header{Identity: [IdentitySize]byte{1}, Generation: 10, Next: 11, Base: 5, Sealed: 5})
	if err != nil {
		t.Fatal(err)
	}
	l.Begin(11, 5)
	at := 0
	ends = append(ends, HeaderBlock)
	for i, held := range []string{"six", "seven", "eight"} {
		frame := frameOf(l, 6+uint64(i), held)
		if err := l.Write(frame, int64(at)); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			l.Acknowledge(7)
		}
		at += len(frame)
		ends = append(ends, HeaderBlock+at)
	}
	if err := l.File.Close(); err != nil {
		t.Fatal(err)
	}
	if content, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return content, ends
}

func TestRecover(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if l, frames, last, err := Open(path, 5); l != nil || frames != nil || last != 0 || err != nil {
		t.Errorf("of no log: %+v, %q, %d, %v", l, frames, last, err)
	}
	content, ends := three(t, path)
	without := func(from, to int) []byte {
		damaged := bytes.Clone(content)
		clear(damaged[from:to])
		return damaged
	}
	for _, c := range []struct {
		name    string
		content []byte
		after   uint64 // what the other file has
		end     int
		last    uint64
		err     error
	}{
		{"whole", content, 5, ends[3], 8, nil},
		{"the file has more", content, 7, ends[0], 7, nil}, // the first frame is an old one
		{"the last frame is torn", without(ends[3]-1, ends[3]), 5, ends[2], 7, nil},
		{"an acknowledged one is torn", without(ends[2]-1, ends[3]), 5, 0, 0, ErrMissing},
		{"one in the middle is torn", without(ends[1]+4, ends[1]+8), 5, 0, 0, ErrMissing},
		{"it was cut", content[:ends[3]], 5, 0, 0, ErrMissing},
		{"the file is older", content, 4, 0, 0, ErrLater},
		{"of one header only", without(0, HeaderSlot), 5, ends[3], 8, nil},
		{"of the other only", without(HeaderSlot, HeaderBlock), 5, ends[3], 8, nil},
	} {
		if err := os.WriteFile(path, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		l, frames, last, err := Open(path, c.after)
		if err != nil || c.err != nil {
			if !errors.Is(err, c.err) {
				t.Errorf("%s: %v, want %v", c.name, err, c.err)
			}
			continue
		}
		if !bytes.Equal(frames, content[ends[0]:c.end]) || last != c.last || l.Identity != [IdentitySize]byte{1} {
			t.Errorf("%s: %q up to %d of %+v", c.name, frames, last, l.Header)
		}
		if err := l.File.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestVoid: a frame that was not written as a whole does not count, and neither does one of another
// log.
func TestVoid(t *testing.T) {
	l, err := Create(filepath.Join(t.TempDir(), "log"), Header{})
	if err != nil {
		t.Fatal(err)
	}
	first, second := frameOf(l, 1, "first"), frameOf(l, 2, "second")
	if err := l.Write(append(bytes.Clone(first), second...), 0); err != nil {
		t.Fatal(err)
	}
	l.Void(int64(len(first)))
	if err := l.File.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(l.Path)
	if err != nil {
		t.Fatal(err)
	}
	if end, last, err := l.Scan(content[HeaderBlock:], 0); end != len(first) || last != 1 || err != nil {
		t.Errorf("%d bytes up to %d, %v", end, last, err)
	}
	l.Identity[0]++
	if frame, _ := l.Cut(first); frame != nil {
		t.Error("a frame of another log counts")
	}
}

func TestEntries(t *testing.T) {
	held := append(AppendPut(nil, 3, []byte("key"), 5), "value"...)
	held = AppendSequence(AppendDelete(held, 4, nil), 5, 1<<40)
	want := []Entry{
		{Kind: Put, Table: 3, Key: []byte("key"), Value: []byte("value")}, {Kind: Delete, Table: 4, Key: []byte{}}, {Kind: Sequence, Table: 5, Number: 1 << 40},
	}
	read := func(held []byte) (all []Entry, err error) {
		for e, failed := range Entries(held) {
			if err = failed; err == nil {
				all = append(all, e)
			}
		}
		return all, err
	}
	if got, err := read(held); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for end := range held {
		got, err := read(held[:end])
		if err != nil && !errors.Is(err, ErrEntry) || len(got) > 0 && !reflect.DeepEqual(got, want[:len(got)]) {
			t.Errorf("of %d bytes: %+v, %v", end, got, err)
		}
	}
	if _, err := read([]byte{4, 0, 0}); !errors.Is(err, ErrEntry) {
		t.Errorf("another kind: %v", err)
	}
}
