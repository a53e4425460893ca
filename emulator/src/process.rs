//! Starting and ending the processes of the stack.
