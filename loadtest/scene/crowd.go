package scene

import (
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Crowd is followers in a process of their own, because one process may not have as many open files
// as a load test has followers. It takes orders as JSON from its standard input and answers each on
// its standard output.
type Crowd struct {
	addrs []string
	seats []*seat

	delivered, cut, returned atomic.Int64
	wrong                    atomic.Pointer[error]
}

// crowdOrder is one order: to follow, to come and go, or to tell where everybody is.
type crowdOrder struct {
	Open *crowdOpen `json:"open,omitempty"`
	// Followers per second that leave and come back, from now on.
	Churn *float64   `json:"churn,omitempty"`
	Tell  []expected `json:"tell,omitempty"` // by group
}

// crowdOpen says who is to follow: of all the seats of all groups every Of-th one, from Share on.
type crowdOpen struct {
	Addrs     []string    `json:"addrs"` // the gateways, over which the seats are spread
	Groups    []crowdSeat `json:"groups"`
	Share, Of int
}

// crowdSeat is a group of seats. They follow the channels in turn.
type crowdSeat struct {
	Topic    bool   `json:"topic"` // else a request
	Prefix   string `json:"prefix"`
	Channels int    `json:"channels"`
	Seats    int    `json:"seats"`
}

// expected is how many events the channels of a group have: Base, and Each for everything that was
// published to them in turn, which is Full to all of them, and one more to the first Rest.
type expected struct {
	Base, Each, Full, Rest int
}

func (e expected) offset(channel int) int64 {
	n := e.Full
	if channel < e.Rest {
		n++
	}
	return int64(e.Base + e.Each*n)
}

// crowdState is what a crowd answers.
type crowdState struct {
	Open      int    `json:"open"`
	Away      int    `json:"away"`   // seats that are not followed now
	Behind    int    `json:"behind"` // seats that have not got all that is expected
	Beyond    int    `json:"beyond"` // seats that have got more
	Delivered int64  `json:"delivered"`
	Returned  int64  `json:"returned"` // those that left and came back
	Cut       int64  `json:"cut"`      // connections that the server has ended
	Error     string `json:"error,omitempty"`
}

// Run takes orders until there are no more.
func (c *Crowd) Run(in io.Reader, out io.Writer) error {
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	churn := make(chan float64)
	go c.churn(churn)
	for {
		var order crowdOrder
		if err := orders.Decode(&order); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var err error
		if order.Open != nil {
			err = c.open(order.Open)
		}
		if order.Churn != nil {
			churn <- *order.Churn
		}
		state := c.tell(order.Tell)
		if wrong := c.wrong.Load(); wrong != nil {
			err = *wrong
		}
		if err != nil {
			state.Error = err.Error()
		}
		if err := answers.Encode(state); err != nil {
			return err
		}
	}
}

// open takes the seats and has everybody follow from the beginning.
func (c *Crowd) open(o *crowdOpen) error {
	c.addrs = o.Addrs
	number := 0
	for group, g := range o.Groups {
		for i := range g.Seats {
			if number%o.Of == o.Share {
				c.seats = append(c.seats, newSeat(c, o, group, i, number))
			}
			number++
		}
	}
	return each(len(c.seats), func(i int) error {
		f, err := c.seats[i].follow()
		if err == nil {
			go c.seats[i].stay(f)
		}
		return err
	})
}

func (c *Crowd) tell(want []expected) crowdState {
	s := crowdState{Delivered: c.delivered.Load(), Returned: c.returned.Load(), Cut: c.cut.Load()}
	for _, seat := range c.seats {
		seat.mu.Lock()
		if seat.now != nil {
			s.Open++
		} else {
			s.Away++
		}
		seat.mu.Unlock()
		if seat.group < len(want) {
			switch at, to := seat.last.Load(), want[seat.group].offset(seat.channel); {
			case at < to:
				s.Behind++
			case at > to:
				s.Beyond++
			}
		}
	}
	return s
}

// churn sends followers away, as many per second as it is told.
func (c *Crowd) churn(rates <-chan float64) {
	tick := time.NewTicker(time.Hour)
	for {
		select {
		case rate := <-rates:
			if tick.Reset(time.Hour); rate > 0 {
				tick.Reset(time.Duration(float64(time.Second) / rate))
			}
		case <-tick.C:
			c.seats[rand.IntN(len(c.seats))].leave()
		}
	}
}
