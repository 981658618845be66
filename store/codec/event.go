package codec

import "github.com/hark-push/hark/lifecycle"

// eventLetters are what stands for the type of an event.
var eventLetters = map[lifecycle.EventType]byte{
	lifecycle.EventAccepted:  'a',
	lifecycle.EventStarted:   's',
	lifecycle.EventProgress:  'p',
	lifecycle.EventRetrying:  'r',
	lifecycle.EventWaiting:   'w',
	lifecycle.EventAnswered:  'n',
	lifecycle.EventSucceeded: 'd',
	lifecycle.EventFailed:    'f',
	lifecycle.EventCanceled:  'c',
	lifecycle.EventExpired:   'x',
}

var eventTypes = func() (types [256]lifecycle.EventType) {
	for t, letter := range eventLetters {
		types[letter] = t
	}
	return types
}()

// EventLetter returns what stands for the type of an event, '-' for none.
func EventLetter(t lifecycle.EventType) byte {
	if letter := eventLetters[t]; letter != 0 {
		return letter
	}
	return '-'
}

// EventType returns what a letter stands for, "" if it is none of EventLetter.
func EventType(letter byte) lifecycle.EventType { return eventTypes[letter] }

// Event returns an event of which so many bytes are stored.
func Event(r *lifecycle.Request, t lifecycle.EventType, stored int) *lifecycle.Event {
	const around = 1000 // about how much longer it is: names, links, times in full
	return lifecycle.NewEvent(make([]byte, 0, stored+around), r, t)
}
