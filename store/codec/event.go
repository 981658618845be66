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
	lifecycle.EventRedriven:  'v',
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
