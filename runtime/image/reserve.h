/** A little room that is kept aside on the store's disk, so that a full disk can be worked with:
 * the database of the images needs some to be opened, and to remove what is in it. */
#pragma once

/** Before such work. */
void img_reserve_give(const char *dir);
/** After it; puts nothing aside while the disk has too little. */
void img_reserve_take(const char *dir);
