package rabbitmq

import (
	"log/slog"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Ranks is how many priorities the quorum queues of a server tell apart.
type Ranks int

// What the versions of RabbitMQ do with the priority of a message.
const (
	OneRank  Ranks = 1 // before 4.0: nothing, the oldest first
	TwoRanks Ranks = 2 // from 4.0: 0 and above, of the higher rank two for each of the lower
	// From 4.3: all, strictly, so that a steady stream of urgent jobs starves the others.
	AllRanks Ranks = 10
)

// ranksOf tells by the version of a server, such as 4.0.5; the oldest that is supported if it
// cannot be read.
func ranksOf(version string) Ranks {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	switch {
	case errA != nil || errB != nil || a < 4:
		return OneRank
	case a == 4 && b < 3:
		return TwoRanks
	default:
		return AllRanks
	}
}

// Rank returns the priority, of those from 0 to 9, by which jobs of a priority are handed out by
// the server that was connected last: jobs of one rank come in their order.
func (b *Broker) Rank(priority int) int {
	switch priority = min(max(priority, 0), 9); Ranks(b.ranks.Load()) {
	case AllRanks:
		return priority
	case TwoRanks:
		return min(priority, 1)
	default:
		return 0
	}
}

// note keeps what a server that was connected says of itself.
func (b *Broker) note(conn *amqp.Connection) (attrs []any) {
	version, _ := conn.Properties["version"].(string)
	ranks := ranksOf(version)
	b.ranks.Store(int32(ranks))
	attrs = append(attrs, slog.String("version", version))
	switch ranks {
	case OneRank:
		attrs = append(attrs, slog.String("priorities", "ignored before RabbitMQ 4"))
	case TwoRanks:
		attrs = append(attrs, slog.String("priorities", "two: above 0, and 0; all ten from RabbitMQ 4.3"))
	case AllRanks:
		attrs = append(attrs, slog.String("priorities", "all ten, strictly"))
	}
	return attrs
}
