package qupath.lib.io

class Roi {
    List box
    Roi(List box) { this.box = box }
    int getNumPoints() { 4 }
    double getArea() { (box[2] - box[0]) * (box[3] - box[1]) }
    double getCentroidX() { (box[0] + box[2]) / 2 }
    double getCentroidY() { (box[1] + box[3]) / 2 }
    Roi getGeometry() { this }
    boolean intersects(Roi other) {
        def overlapX = box[0] <= other.box[2] && other.box[0] <= box[2]
        def overlapY = box[1] <= other.box[3] && other.box[1] <= box[3]
        overlapX && overlapY
    }
}
