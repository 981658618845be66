package backends

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hark-push/hark/lifecycle"
)

// CallbackKey is how the routing key of an event on the callback exchange is made: its text, with
// {topic}, {route}, {type} and {id} replaced by those of the event. "" is {topic}.
type CallbackKey string

// longestKey is how long a routing key may be, in bytes.
const longestKey = 255

var placeholder = regexp.MustCompile(`\{[^{}]*\}?|\}`)

// Check says what is wrong with it.
func (k CallbackKey) Check() error {
	for _, name := range placeholder.FindAllString(string(k), -1) {
		if !slices.Contains([]string{"{topic}", "{route}", "{type}", "{id}"}, name) {
			return fmt.Errorf("%s is not known: there are {topic}, {route}, {type} and {id}", name)
		}
	}
	if n := len(placeholder.ReplaceAllString(string(k), "")); n > longestKey {
		return fmt.Errorf("it has %d bytes, and a routing key has %d at most", n, longestKey)
	}
	return nil
}

// of returns the key of an event, cut where it is too long for one: what RabbitMQ refuses would be
// in the way of all events behind it.
func (k CallbackKey) of(e *lifecycle.Event) string {
	if k == "" || k == "{topic}" {
		return e.Topic
	}
	key := strings.NewReplacer("{topic}", e.Topic, "{route}", e.Route, "{type}", string(e.Type), "{id}", e.Request.ID).Replace(string(k))
	return strings.ToValidUTF8(key[:min(len(key), longestKey)], "")
}
