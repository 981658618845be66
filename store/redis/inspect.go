package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/store/redis/link"
)

// Setting is one of a server's, which is not as Hark needs it.
type Setting struct {
	Name, Value, Want string
	Why               string // what comes of it
}

// Inspection is what a server says of itself.
type Inspection struct {
	Major, Minor int    // of its version
	Cluster      string // the state of its Cluster, like "ok"; "" if it is in none
	// Ahead is the server's clock less that of who asks, give or take half of RoundTrip.
	Ahead, RoundTrip time.Duration
	Unfit            []Setting // those with which accepted requests can be lost
	// Layout and Partitions of the store that is there; 0 if there is none.
	Layout, Partitions int
	// Used and Most are bytes of the server's memory; 0: not known, or no bound.
	Used, Most int64
}

// Supported reports whether a store can be in a server of that version.
func (i Inspection) Supported() bool { return i.Major > 6 || i.Major == 6 && i.Minor >= 2 }

// KnownLayout is that of the stores that this program makes. It knows older ones, too.
const KnownLayout = layout

// Inspect asks a server about itself, and changes nothing. now is the clock that its own is held
// against. Forms of the URL are those of [Open]; errors are those of go-redis.
func Inspect(ctx context.Context, url, prefix string, now func() time.Time) (i Inspection, err error) {
	how, err := link.ParseURL(url)
	if err != nil {
		return i, err
	}
	client := link.Connect(how, 5*time.Second)
	defer func() { err = errors.Join(err, client.Close()) }()
	server, err := client.Server(ctx)
	if err != nil {
		return i, err
	}
	i.Major, i.Minor = server.Major, server.Minor
	asked, began := now(), time.Now()
	at, err := client.Time(ctx).Result()
	if err != nil {
		return i, err
	}
	i.RoundTrip = time.Since(began)
	i.Ahead = at.Sub(asked.Add(i.RoundTrip / 2))
	i.Unfit = unfit(ctx, client)
	if server.Cluster {
		i.Cluster = "unknown"
		if info, err := client.ClusterInfo(ctx).Result(); err == nil {
			i.Cluster = field(info, "cluster_state")
		}
	}
	if info, err := client.Info(ctx, "memory").Result(); err == nil {
		i.Used, _ = strconv.ParseInt(field(info, "used_memory"), 10, 64)
		i.Most, _ = strconv.ParseInt(field(info, "maxmemory"), 10, 64)
	}
	meta, err := client.HGetAll(ctx, prefix+":meta").Result()
	if err != nil && !errors.Is(err, goredis.Nil) {
		return i, fmt.Errorf("%s:meta: %w", prefix, err)
	}
	i.Layout, _ = strconv.Atoi(meta["version"])
	i.Partitions, _ = strconv.Atoi(meta["partitions"])
	return i, nil
}

// field returns one of what INFO says.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return value
		}
	}
	return ""
}
