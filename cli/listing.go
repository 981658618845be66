package cli

import (
	"context"
	"encoding/json"
	"net/url"

	"github.com/hark-push/hark/settings"
)

// listing is a list of the interface, as it is printed: with --json a value a line, else a table.
// T is what is shown of a value.
type listing[T any] struct {
	path, member string            // where its pages are, and the member that has the values
	options      map[string]string // of the query; those that are "" are left out
	limit        int               // as many at most; 0: all
	columns      []string
	row          func(T) []string
}

// print prints the list, and what there is of it if a page cannot be had.
func (l listing[T]) print(ctx context.Context, s *Streams, c *Client, o Output) error {
	if err := settings.Between("limit", l.limit, 0, 1_000_000_000); err != nil {
		return err
	}
	query := make(url.Values)
	for name, value := range l.options {
		if value != "" {
			query.Set(name, value)
		}
	}
	if o.JSON {
		return c.pages(ctx, l.path, query, l.member, l.limit, func(raw json.RawMessage) error { return line(s.Out, raw) })
	}
	t := newTable(s.Out, l.columns...)
	err := c.pages(ctx, l.path, query, l.member, l.limit, func(raw json.RawMessage) error {
		var value T
		if err := json.Unmarshal(raw, &value); err != nil {
			return err
		}
		t.row(l.row(value)...)
		return nil
	})
	_ = t.end()
	return err
}
