package auth

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// KeyInfo is what a file says of one key. Nothing of it proves who somebody is.
type KeyInfo struct {
	ID      string // the beginning of its digest, 12 characters
	Subject string
	Roles   []string
	Expires time.Time // zero: never
	// Plain reports whether the file has the key itself, which whoever reads it has then.
	Plain bool
}

// ListKeys returns the keys of a file, in its order. It fails on a file that a gateway would
// refuse.
func ListKeys(text []byte) ([]KeyInfo, error) {
	if _, err := parseKeys(text); err != nil {
		return nil, err
	}
	var entries []entry
	if err := yaml.Unmarshal(text, &entries); err != nil {
		return nil, quiet(err)
	}
	found := make([]KeyInfo, len(entries))
	for i, e := range entries {
		k, _, err := e.parse()
		if err != nil {
			return nil, err
		}
		found[i] = KeyInfo{ID: k.id, Subject: e.Subject, Roles: e.Roles, Expires: e.Expires, Plain: e.Key != ""}
	}
	return found, nil
}

// errByHand: what is to be changed stands in a form that nothing but a person should change.
var errByHand = errors.New("its entry is not written as --new-key prints it: take it out with an editor; nothing was changed")

// WithoutKey returns the text of a file without the entry of one key, by its id. All else stands
// as it did, comments too. It fails if there is no such key, and if it is the only one, because a
// gateway refuses a file without keys and goes on with those of before.
func WithoutKey(text []byte, id string) ([]byte, error) {
	keys, err := ListKeys(text)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(keys, func(k KeyInfo) bool { return k.ID == id })
	switch {
	case at < 0:
		return nil, fmt.Errorf("there is no key with the id %.40q in it", id)
	case len(keys) == 1:
		return nil, errors.New("it is the only key: add another one before, because a gateway refuses a file without keys, and goes on with those that it has")
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil || len(document.Content) != 1 {
		return nil, errByHand
	}
	list := document.Content[0]
	if list.Kind != yaml.SequenceNode || list.Style&yaml.FlowStyle != 0 || len(list.Content) != len(keys) {
		return nil, errByHand
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	first, end := list.Content[at].Line-1, len(lines)
	if at+1 < len(list.Content) {
		end = list.Content[at+1].Line - 1
	}
	// What stands in front of the next one is about that.
	for ; end > first+1; end-- {
		if line := strings.TrimSpace(string(lines[end-1])); line != "" && !strings.HasPrefix(line, "#") {
			break
		}
	}
	changed := bytes.Join(slices.Concat(lines[:first], lines[end:]), nil)
	left, err := ListKeys(changed)
	if err != nil || !slices.EqualFunc(left, slices.Delete(keys, at, at+1), func(a, b KeyInfo) bool { return a.ID == b.ID }) {
		return nil, errByHand
	}
	return changed, nil
}
