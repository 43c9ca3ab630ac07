// soundOf picks the sound out of a video; null where all of it is to be sent.
export async function soundOf() { return null }
