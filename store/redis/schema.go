package redis

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"

	"github.com/hark-push/hark/store/redis/link"
)

// layout is the version of what this program stores.
const layout = 6

// clusterPartitions is how many partitions a new store on a Cluster gets.
const clusterPartitions = 16

const mostPartitions = 1024

// prepare looks at the server and at what it holds, within ctx. To bring an older layout up to date
// may take longer: until whole ends.
func (s *Store) prepare(ctx, whole context.Context) error {
	server, err := s.client.Server(ctx)
	if err != nil {
		return err
	}
	if server.Major < 6 || server.Major == 6 && server.Minor < 2 {
		return fmt.Errorf("needs Redis 6.2 or newer, the server is %d.%d", server.Major, server.Minor)
	}
	if server.Cluster && server.Major >= 7 {
		s.publish = "SPUBLISH"
	}
	if !server.Cluster { // in one, others publish what is received here
		s.alone = s.client.PubSubNumSub(ctx, s.options.Prefix).Err() == nil
	}
	now, err := s.client.Time(ctx).Result()
	if err != nil {
		return err
	}
	s.clock.Set(now.UTC(), 0)
	s.advise(ctx)

	want := s.options.Partitions
	if want < 0 || want > mostPartitions {
		return fmt.Errorf("%d partitions, want 1 to %d", want, mostPartitions)
	}
	begin := want
	if begin == 0 {
		begin = 1
		if server.Cluster {
			begin = clusterPartitions
		}
	}
	meta := s.options.Prefix + ":meta"
	answer, err := scripts.meta.Run(ctx, s.client, []string{meta}, layout, begin, false).Slice()
	if err != nil {
		return fmt.Errorf("%s: %w", meta, err)
	}
	text := make([]string, 3)
	for i := range min(len(answer), 3) {
		text[i], _ = answer[i].(string)
	}
	version, versionErr := strconv.Atoi(text[1])
	partitions, partitionsErr := strconv.Atoi(text[2])
	switch {
	case text[0] != "hark" && text[0] != importing || versionErr != nil || partitionsErr != nil || partitions < 1 || partitions > mostPartitions:
		return fmt.Errorf("%s is not that of a Hark store", meta)
	case version > layout:
		return fmt.Errorf("its layout is version %d, this program knows up to version %d: run the program that wrote it, or a newer one; nothing was changed",
			version, layout)
	case text[0] == importing:
		return fmt.Errorf("an import into it has not come to its end: remove all keys that begin with %s:, and import again", s.options.Prefix)
	case want != 0 && want != partitions:
		return fmt.Errorf("it was made with %d partitions, not %d", partitions, want)
	}
	s.tags, s.usages.partitions = make([]string, partitions), partitions
	s.claimAgain = make([]atomic.Int64, partitions)
	for i := range s.tags {
		s.all = append(s.all, i)
		s.tags[i] = s.options.Prefix + ":{p" + strconv.Itoa(i) + "}:"
	}
	s.relays = make(map[route]*relay)
	for from := range partitions {
		for to := range partitions {
			if from != to {
				s.relays[route{from, to}] = new(relay)
			}
		}
	}
	if version == layout {
		return nil
	}
	if err := s.upgrade(whole, version); err != nil {
		return fmt.Errorf("bring its layout from version %d to %d: %w", version, layout, err)
	}
	return scripts.meta.Run(whole, s.client, []string{meta}, layout, begin, true).Err()
}

// upgrade brings what an older layout has otherwise up to date. What is of each request is read as
// it is, and written in the new way from here on. If it breaks off, the next one goes on with it.
func (s *Store) upgrade(ctx context.Context, version int) error {
	if version < 4 {
		if err := s.adoptFeeds(ctx); err != nil {
			return err
		}
	}
	if version < 5 {
		if err := s.indexDead(ctx); err != nil {
			return err
		}
	}
	if err := s.indexEndpoints(ctx); err != nil {
		return err
	}
	return s.indexMade(ctx)
}

// adoptFeeds brings feeds of a layout before 4 up to date.
func (s *Store) adoptFeeds(ctx context.Context) error {
	for partition, tag := range s.tags {
		channels, err := s.client.ZRange(ctx, tag+"aging", 0, -1).Result()
		if err != nil {
			return err
		}
		for _, channel := range channels {
			if _, err := s.run(ctx, scripts.adopt, partition, channel); err != nil {
				return err
			}
		}
	}
	return nil
}

// kept are the settings without which accepted requests can be lost.
var kept = []Setting{
	{Name: "appendonly", Want: "yes", Why: "what was accepted is lost when Redis dies"},
	{Name: "maxmemory-policy", Want: "noeviction", Why: "Redis drops requests when its memory is full"},
}

// advise warns of settings with which accepted requests can be lost.
func (s *Store) advise(ctx context.Context) {
	for _, setting := range unfit(ctx, s.client) {
		s.log.LogAttrs(ctx, slog.LevelWarn, "Redis is not set up for keeping requests", slog.String("why", setting.Why),
			slog.String("setting", setting.Name), slog.String("value", setting.Value), slog.String("want", setting.Want))
	}
}

// unfit returns those of the settings that are not as they should be. A server that does not show
// its settings is believed.
func unfit(ctx context.Context, client *link.Client) (found []Setting) {
	for _, setting := range kept {
		got, err := client.ConfigGet(ctx, setting.Name).Result()
		if setting.Value = got[setting.Name]; err == nil && setting.Value != "" && setting.Value != setting.Want {
			found = append(found, setting)
		}
	}
	return found
}
