package extractor

// A crew runs functions in goroutines that it uses again: a request needs a stack that a new
// goroutine would first have to grow to, which takes as long as a tenth of the request.
type crew struct{ tasks chan func() }

func newCrew() crew { return crew{make(chan func())} }

// run runs the function in a goroutine that is free, or in a new one.
func (c crew) run(task func()) {
	select {
	case c.tasks <- task:
	default:
		go func() {
			for task != nil {
				task()
				task = <-c.tasks
			}
		}()
	}
}

// dismiss ends the goroutines that are free, and the others when they are. Nothing is run after it.
func (c crew) dismiss() { close(c.tasks) }
